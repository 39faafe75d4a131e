"""Optics against deepinv and torchoptics: one run, interleaved, ratios.

``python -m pip install -e ".[bench]" && python tests/benchmarks/peers.py``

Each case is run by every contender in turn, in rounds, on one thread; the figure of a contender is
its least CPU time, and the ratio is to ours. Results are checked against each other first.
"""

import argparse
import json
import platform
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch

import optics

Contender = Callable[[], object]


def convolution(taps: int) -> dict[str, Contender]:
    """32 pictures of 3 x 128 x 128 and a PSF for each channel, forward and backward to both."""
    from deepinv.physics.functional import conv2d_fft as deepinv_convolve
    from torchoptics.functional import conv2d_fft as torchoptics_convolve

    generator = torch.Generator().manual_seed(0)
    image = torch.rand(32, 3, 128, 128, generator=generator, requires_grad=True)
    psf = torch.rand(3, taps, taps, generator=generator)
    psf = (psf / psf.sum((-2, -1), keepdim=True)).requires_grad_()

    def ours() -> torch.Tensor:
        return optics.convolve(image, psf)

    def deepinv() -> torch.Tensor:
        return deepinv_convolve(image, psf[None], padding="constant")

    def torchoptics() -> torch.Tensor:
        after = taps // 2
        before = taps - 1 - after
        padded = torch.nn.functional.pad(image, (before, after, before, after))
        return torchoptics_convolve(padded, psf).real

    centre = slice(40, 88)
    own = ours().detach()[..., centre, centre]
    for peer in (deepinv, torchoptics):
        # Centres of even kernels differ between the libraries by a pixel.
        result = peer().detach()
        candidates = [
            result.roll((dy, dx), (-2, -1))[..., centre, centre]
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
        ]
        nearest = min(float((c - own).abs().max()) for c in candidates)
        if nearest > 1e-3:
            warnings.warn(f"{peer.__name__} differs by {nearest:.2g}", stacklevel=2)
    return {
        name: lambda run=run: run().square().sum().backward()
        for name, run in (("ours", ours), ("deepinv", deepinv), ("torchoptics", torchoptics))
    }


def pupil_to_psf() -> dict[str, Contender]:
    """A 128 x 128 pupil with aberrations to PSFs of 64 x 64 at three wavelengths, and backward."""
    from deepinv.physics.generator import DiffractionBlurGenerator

    n, size = 128, 64
    spacing = 1e-3 / (n - 1)
    coefficients = torch.nn.Parameter(torch.full((8,), 20e-9))
    wavelengths = (450e-9, 550e-9, 650e-9)
    pupil = optics.Pupil(
        [
            optics.Aberration(
                n, spacing=spacing, diameter=1e-3, coefficients=coefficients, indices=range(4, 12)
            )
        ],
        wavelengths=wavelengths,
        focal_length=10e-3,
        pixel_pitch=2e-6,
        psf_size=size,
    )
    peer = DiffractionBlurGenerator(
        (size, size),
        fc=tuple(1e-3 * 2e-6 / (wavelength * 10e-3) for wavelength in wavelengths),
        pupil_size=(n, n),
    )
    waves = torch.full((1, peer.n_zernike), 0.03, requires_grad=True)

    def ours() -> None:
        pupil().square().sum().backward()

    def deepinv() -> None:
        peer.step(batch_size=1, coeff=waves)["filter"].square().sum().backward()

    return {"ours": ours, "deepinv": deepinv}


def front_end() -> dict[str, Contender]:
    """Pupil, PSF, 32 pictures, sensor, forward and backward; against its transforms alone."""
    n, count = 128, 128
    spacing = 1e-3 / (n - 1)
    generator = torch.Generator().manual_seed(0)
    phase = torch.nn.Parameter(0.1 * torch.rand(n, n, generator=generator))
    camera = optics.IncoherentImaging(
        optics.Pupil(
            [optics.PhaseMask(phase, spacing=spacing)],
            wavelengths=(450e-9, 550e-9, 650e-9),
            focal_length=10e-3,
            pixel_pitch=2e-6,
            psf_size=64,
        ),
        boundary="zero",
    )
    sensor = optics.Sensor()
    scene = torch.rand(32, 3, count, count, generator=generator, requires_grad=True)
    gradient = torch.rand(32, 3, count, count, generator=generator)
    side = optics.fast_size(count + 32)

    def ours() -> None:
        sensor(camera(scene), generator=generator).backward(gradient)

    def transforms() -> None:
        """Those of the convolution: two forward and two inverse transforms of all pictures."""
        with torch.no_grad():
            for _ in range(2):
                torch.fft.irfft2(torch.fft.rfft2(scene, s=(side, side)), s=(side, side))

    return {"ours": ours, "transforms alone": transforms}


CASES: dict[str, Callable[[], dict[str, Contender]]] = {
    "convolve 32x3x128x128, PSF 31": lambda: convolution(31),
    "convolve 32x3x128x128, PSF 64": lambda: convolution(64),
    "convolve 32x3x128x128, PSF 128": lambda: convolution(128),
    "pupil 128 to PSF 64, 3 wavelengths": pupil_to_psf,
    "front end, 32x3x128x128, PSF 64": front_end,
}


def measure(contenders: dict[str, Contender], rounds: int) -> dict[str, float]:
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = {}
    for case, make in CASES.items():
        least = measure(make(), options.rounds)
        results[case] = least
        others = ", ".join(
            f"{name} {ms:.1f} ms ({ms / least['ours']:.2f}x)"
            for name, ms in least.items()
            if name != "ours"
        )
        print(f"{case}: ours {least['ours']:.1f} ms; {others}", flush=True)
    if options.json:
        machine = f"{platform.machine()}, torch {torch.__version__}, one thread"
        options.json.write_text(json.dumps({"machine": machine, "cases": results}, indent=2))


if __name__ == "__main__":
    main()
