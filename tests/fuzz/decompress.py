"""Throw damaged files at every decoder.

``python tests/fuzz/decompress.py --streams 100000 --seed 0`` mutates good files (truncated,
extended, bits flipped, bytes set, spliced, of another model, plain noise, and with the checksum
made right again) and hands them to ``decompress``. Each must be refused with ``CorruptStream`` or
give a finite picture; without a made-up checksum, a container gives the right picture or none.
Prints what happened, the slowest call and the peak memory; a file that breaks the rule is written
to ``--keep`` and ends the run with status 1.

``--atheris=FOLDER`` lets coverage guide the mutations instead (``pip install atheris``): libFuzzer
starts from the files in the folder and adds to it what reaches new code. ``tests/fuzz/corpus`` is
what remained of such a run; a test replays it.
"""

import argparse
import random
import resource
import struct
import sys
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch

if any(argument.startswith("--atheris") for argument in sys.argv):
    import atheris

    with atheris.instrument_imports(include=["compress"]):
        import compress
else:
    import compress

from compress.container import HEADER_BYTES

CORPUS = Path(__file__).parent / "corpus"

_BUILT: dict[str, Callable[[], compress.Codec]] = {
    "autoencoder": lambda: compress.Autoencoder(6),
    "autoencoder8": lambda: compress.Autoencoder(6, latent_bits=8),
    "factorized": lambda: compress.FactorizedCodec(levels=2),
    "hyperprior": lambda: compress.HyperpriorCodec(levels=3),
    "kmeans": lambda: compress.KMeansCodec(6),
    "kmeans_fixed": lambda: compress.KMeansCodec(5, coding="fixed"),
    "jpeg": lambda: compress.JPEG(50),
    "webp": lambda: compress.WebP(50),
    "jpeg2000": lambda: compress.JPEG2000(10),
    "avif": lambda: compress.AVIF(50),
    "png": compress.PNG,
}
#: Those whose files are containers of this library, with a checksum over everything.
OURS = ("autoencoder", "autoencoder8", "factorized", "hyperprior", "kmeans", "kmeans_fixed")


class Target:
    """A decoder, a few files of its own, and the pictures that they hold."""

    def __init__(self, name: str) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.codec = _BUILT[name]().eval()
        self.name = name
        self.ours = name in OURS
        pictures = torch.rand(3, 3, 6, 5, generator=torch.Generator().manual_seed(1))
        large = torch.nn.functional.interpolate(pictures, (24, 40), mode="bilinear")
        self.files = [*self.codec.compress(large), *self.codec.compress(pictures)]
        self.right = {data: self.codec.decompress([data]) for data in self.files}

    def judge(self, data: bytes, *, forged: bool) -> str:
        """Decode; say what came of it, or raise whatever should not have."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                picture = self.codec.decompress([data])
            except compress.CorruptStream:
                return "refused"
        if picture.ndim != 4 or not picture.isfinite().all():
            raise AssertionError(f"{self.name}: a picture that is none, {list(picture.shape)}")
        right = [good for good in self.right.values() if torch.equal(good, picture)]
        if self.ours and not forged and not right:
            raise AssertionError(f"{self.name}: a damaged file gave a wrong picture")
        return "right" if right else "another picture"


def mutate(data: bytes, others: list[bytes], rng: random.Random) -> tuple[bytes, bool]:
    """Damage a file; also say whether the checksum of a container was made right again."""
    kind = rng.randrange(8)
    damaged = bytearray(data)
    if kind == 0:
        del damaged[rng.randrange(len(damaged)) :]
    elif kind == 1:
        damaged += rng.randbytes(rng.randint(1, 64))
    elif kind in (2, 3):
        for _ in range(rng.choice((1, 1, 2, 8, 64))):
            place = rng.randrange(8 * len(damaged))
            damaged[place // 8] ^= 1 << place % 8
    elif kind == 4:
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.choice((0, 1, 127, 128, 255))
    elif kind == 5:
        other = rng.choice(others)
        damaged = damaged[: rng.randrange(len(damaged))] + other[rng.randrange(len(other)) :]
    elif kind == 6:
        damaged = bytearray(rng.randbytes(rng.randint(0, 200)))
    else:
        place = rng.randrange(max(1, len(damaged) - 4))
        damaged[place : place + 4] = struct.pack("<I", rng.choice((0, 1, 2**16, 2**31, 2**32 - 1)))
    return repair(bytes(damaged)) if rng.random() < 0.4 else (bytes(damaged), False)


def repair(data: bytes) -> tuple[bytes, bool]:
    """Make the checksum of a container right."""
    if len(data) < HEADER_BYTES:
        return data, False
    head, body = data[: HEADER_BYTES - 4], data[HEADER_BYTES:]
    return head + struct.pack("<I", zlib.crc32(body, zlib.crc32(head))) + body, True


def run(streams: int, seed: int, names: list[str], keep: Path | None) -> Counter[tuple[str, str]]:
    """Mutate and judge; returns how often what happened."""
    rng = random.Random(seed)
    targets = [Target(name) for name in names]
    everything = [data for target in targets for data in target.files]
    outcomes: Counter[tuple[str, str]] = Counter()
    slowest = (0.0, "")
    for number in range(streams):
        target = targets[number % len(targets)]
        data, forged = mutate(rng.choice(target.files), everything, rng)
        # A splice may be the whole file of a codec with the same parameters: that is no damage.
        forged = forged or data in everything
        begin = time.perf_counter()
        try:
            outcome = target.judge(data, forged=forged)
        except BaseException:
            if keep is not None:
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{target.name}-{zlib.crc32(data):08x}").write_bytes(data)
            raise
        slowest = max(slowest, (time.perf_counter() - begin, target.name))
        outcomes[target.name, outcome] += 1
    print(f"slowest call {slowest[0]:.3f} s ({slowest[1]})")
    return outcomes


def replay(data: bytes, targets: list[Target]) -> str:
    """Judge an entry of the corpus: a byte that names the decoder, and what it is given."""
    if not data:
        return "refused"
    target = targets[data[0] % len(targets)]
    return target.judge(repair(data[1:])[0] if target.ours else data[1:], forged=True)


def guided(names: list[str], folder: Path, seconds: int) -> None:
    """Let atheris choose the bytes; the first names the decoder."""
    targets = [Target(name) for name in names]

    folder.mkdir(parents=True, exist_ok=True)
    for number, target in enumerate(targets):
        for k, data in enumerate(target.files):
            (folder / f"seed-{target.name}-{k}").write_bytes(bytes([number]) + data)
    arguments = [f"-max_total_time={seconds}", "-max_len=4096", "-rss_limit_mb=4096", str(folder)]
    atheris.Setup([sys.argv[0], *arguments], lambda data: replay(data, targets))
    atheris.Fuzz()


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--codecs", nargs="+", choices=list(_BUILT), default=list(_BUILT))
    parser.add_argument("--keep", type=Path, help="where to write a file that breaks the rule")
    parser.add_argument("--atheris", type=Path, help="folder of the corpus to start from")
    parser.add_argument("--seconds", type=int, default=600, help="how long, with --atheris")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.atheris is not None:
        guided(options.codecs, options.atheris, options.seconds)
        return
    outcomes = run(options.streams, options.seed, options.codecs, options.keep)
    for (name, outcome), count in sorted(outcomes.items()):
        print(f"{name:<14}{outcome:<18}{count:>8}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{sum(outcomes.values())} streams, peak memory {peak:.0f} MB")


if __name__ == "__main__":
    main()
