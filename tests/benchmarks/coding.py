"""Entropy coding against CompressAI: the same symbols and tables, interleaved, ratios.

CompressAI asks for an old numpy and, through torchvision, for a newest torch, so it goes into a
virtual environment of its own, next to this project and without its dependencies (its wheels end at
Python 3.12)::

    python -m venv bench
    bench/bin/python -m pip install -e . einops pandas requests torch-geometric
    bench/bin/python -m pip install --no-deps compressai
    bench/bin/python tests/benchmarks/coding.py

Both are run as their models call them, latents in and latents out, one stream for each of 32
pictures of 192 x 8 x 8 latents, in turn, in rounds, on one thread; the figure of a contender is its
least CPU time, and the ratio is to ours. The tables are CompressAI's own, made by its ``update()``
at 16 bits and handed to our coder. CompressAI converts all of them for every picture, so its time
depends on how long they are; two cases have short ones. What is decoded is checked first, and the
bytes are compared with the ideal length.
"""

import argparse
import json
import math
import platform
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from compress.bitstream import SymbolReader, SymbolTable, encode_sections

warnings.simplefilter("ignore", FutureWarning)  # torch's, of CompressAI's use of it
try:
    from compressai.entropy_models import EntropyBottleneck, EntropyModel, GaussianConditional
except ImportError as error:
    raise SystemExit(f"CompressAI does not import: {error}.\n\n{__doc__}") from error

BATCH, CHANNELS, SIDE = 32, 192, 8

Coder = tuple[Callable[[], list[bytes]], Callable[[list[bytes]], Tensor]]


class Case:
    """Symbols drawn from CompressAI's tables, and the coders of both libraries for them."""

    def __init__(self, index: np.ndarray, peer: EntropyModel, rng: np.random.Generator) -> None:
        firsts, lengths = peer.offset.tolist(), peer.cdf_length.tolist()
        self.tables = []
        for first, length, edges in zip(firsts, lengths, peer.quantized_cdf.numpy(), strict=True):
            mass = np.diff(edges[:length].astype(np.float64)) / 2**16
            self.tables.append(SymbolTable.from_mass(mass[:-1], first=first))  # last, the escape
        self.longest = max(table.listed for table in self.tables)
        symbols = np.empty(index.shape, np.int64)
        bits = 0.0
        for i, table in enumerate(self.tables):
            place = index == i
            chance = table.frequencies / table.frequencies.sum()
            entry = rng.choice(chance.size, place.sum(), p=chance)  # an escape is the next above
            symbols[place] = table.first + entry
            bits -= np.log2(chance[entry]).sum()
        self.latent = torch.from_numpy(symbols).float()
        self.ideal_bytes = bits / 8
        self.coders: dict[str, Coder] = {}


def rows(*, cut: bool = False) -> Case:
    """A table for each channel, of logistic densities from nearly always zero to wide."""
    peer = EntropyBottleneck(CHANNELS, init_scale=1)
    scales = torch.from_numpy(np.geomspace(0.05, 9.0, CHANNELS)).float()[:, None, None]
    with torch.no_grad():
        slope = torch.nn.functional.softplus(peer.matrices[0]) / scales
        peer.matrices[0].copy_(slope.expm1().log())
        for bias in peer.biases:
            bias.zero_()
        peer.quantiles.copy_(scales * torch.tensor([-1.0, 0.0, 1.0]))
        # From the tails of 1e-9 that CompressAI keeps, or to the probability of 2**-20 at which
        # our tables end: that of the logistic is exp(-t / s) / s.
        tail = math.log(2e9) * scales
        if cut:
            tail = (math.log(2**20) - scales.log()).clamp_min(1) * scales
        peer.quantiles[:, :, 0], peer.quantiles[:, :, 2] = -tail[..., 0], tail[..., 0]
    peer.update(force=True)
    index = np.broadcast_to(np.arange(CHANNELS)[:, None, None], (BATCH, CHANNELS, SIDE, SIDE))
    case = Case(index, peer, np.random.default_rng(0))
    latent, tables = case.latent, case.tables

    def encode() -> list[bytes]:
        symbols = latent.round().flatten(2).to("cpu", torch.int64).numpy()
        return [encode_sections([(picture, None, tables)]) for picture in symbols]

    def decode(payloads: list[bytes]) -> Tensor:
        symbols = [SymbolReader(payload).rows(tables, (SIDE * SIDE,)) for payload in payloads]
        return torch.from_numpy(np.stack(symbols)).unflatten(-1, (SIDE, SIDE)).float()

    case.coders["ours"] = encode, decode
    case.coders["compressai"] = (
        lambda: peer.compress(latent),
        lambda payloads: peer.decompress(payloads, (SIDE, SIDE)),
    )
    return case


def indexed(*, largest: float) -> Case:
    """A table for each symbol, of a family of 64 Gaussians, as a hyperprior chooses them."""
    peer = GaussianConditional(np.geomspace(0.11, largest, 64).tolist())
    peer.update()
    rng = np.random.default_rng(0)
    scales = rng.lognormal(0.0, 1.2, (BATCH, CHANNELS, SIDE, SIDE))
    index = np.searchsorted(peer.scale_table.numpy(), scales).clip(0, 63)
    case = Case(index, peer, rng)
    latent, tables, chosen = case.latent, case.tables, torch.from_numpy(index).int()

    def encode() -> list[bytes]:
        pictures = zip(latent.round().to("cpu", torch.int64).numpy(), chosen.numpy(), strict=True)
        return [encode_sections([(symbols, numbers, tables)]) for symbols, numbers in pictures]

    def decode(payloads: list[bytes]) -> Tensor:
        pictures = zip(payloads, chosen.numpy(), strict=True)
        symbols = [SymbolReader(payload).indexed(numbers, tables) for payload, numbers in pictures]
        return torch.from_numpy(np.stack(symbols)).float()

    case.coders["ours"] = encode, decode
    case.coders["compressai"] = (
        lambda: peer.compress(latent, chosen),
        lambda payloads: peer.decompress(payloads, chosen),
    )
    return case


CASES: dict[str, Callable[[], Case]] = {
    "a table for each channel": rows,
    "a table for each channel, cut short": lambda: rows(cut=True),
    "a table for each symbol, scales to 256": lambda: indexed(largest=256.0),
    "a table for each symbol, scales to 32": lambda: indexed(largest=32.0),
}


def measure(contenders: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Least CPU time of each, ms, taken in turn."""
    least = dict.fromkeys(contenders, float("inf"))
    for _ in range(rounds):
        for name, run in contenders.items():
            begin = time.process_time()
            run()
            least[name] = min(least[name], 1e3 * (time.process_time() - begin))
    return least


def main() -> None:
    """Print a table, and write it as JSON where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = {}
    for name, make in CASES.items():
        case = make()
        payloads = {library: encode() for library, (encode, _) in case.coders.items()}
        for library, (_, decode) in case.coders.items():
            if not torch.equal(decode(payloads[library]), case.latent):
                raise SystemExit(f"{library} does not give back what it coded.")
        count, ideal = case.latent.numel(), case.ideal_bytes
        sizes = {library: sum(map(len, streams)) for library, streams in payloads.items()}
        results[name] = {
            "symbols": count,
            "tables": len(case.tables),
            "longest_table": case.longest,
            "ideal_bytes": ideal,
            "bytes": sizes,
        }
        print(
            f"{name}: {count} symbols of {8 * ideal / count:.2f} bit, {len(case.tables)} tables "
            f"of up to {case.longest}\n  bytes: ideal {ideal:.0f}; "
            + ", ".join(f"{library} {n} ({n / ideal - 1:+.2%})" for library, n in sizes.items())
        )
        directions: dict[str, dict[str, Callable[[], object]]] = {
            "encode": {library: encode for library, (encode, _) in case.coders.items()},
            "decode": {
                library: lambda decode=decode, streams=payloads[library]: decode(streams)
                for library, (_, decode) in case.coders.items()
            },
        }
        for direction, contenders in directions.items():
            least = measure(contenders, options.rounds)
            results[name][f"{direction}_ms"] = least
            print(
                f"  {direction}: ours {least['ours']:.1f} ms, compressai "
                f"{least['compressai']:.1f} ms ({least['compressai'] / least['ours']:.1f}x)",
                flush=True,
            )
    if options.json:
        machine = f"{platform.machine()}, torch {torch.__version__}, one thread"
        options.json.write_text(json.dumps({"machine": machine, "cases": results}, indent=2))


if __name__ == "__main__":
    main()
