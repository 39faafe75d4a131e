"""The common interface of all codecs, their result, and the checks of their arguments."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, Literal, NoReturn

import torch
from torch import Tensor, nn

from .given import is_number
from .quantize import Generators

__all__ = [
    "Codec",
    "Coded",
    "Rate",
    "call_unseen",
    "check_finite",
    "check_image",
    "check_latent",
    "check_payloads",
    "check_same_size",
    "check_tensors",
    "spread",
]

Rate = Literal["noisy", "rounded", "bytes"]


@dataclass(frozen=True, eq=False, repr=False)  # == of tensors is a tensor
class Coded:
    """Result of a codec: decoded pictures and their bits."""

    reconstruction: Tensor
    """Decoded pictures ``[B, C, H, W]`` in 0..1."""
    latent: Tensor | None
    """The coded latent ``[B, M, h, w]``; None for codecs without a tensor latent (JPEG)."""
    bits_map: Tensor
    """Map of the bits ``[B, 1, H, W]``, bits per pixel of the unpadded picture."""
    side_bits: Tensor
    """Bits that belong to no pixel (header, palette, flush of the coder) ``[B]``."""
    rate: Rate
    """Kind of the bits: ``noisy`` estimate in training, ``rounded`` estimate for the symbols that
    would be coded, or ``bytes`` of an actual file."""
    distortion_weight: Tensor | None = None
    """Factor for the distortion in a loss, at the quality of each picture ``[B]``; it is 1 in the
    middle of the codec's qualities. None if the codec has only one quality."""

    def __repr__(self) -> str:
        given = ((part.name, getattr(self, part.name)) for part in fields(self))
        shown = (f"{n}={list(v.shape) if isinstance(v, Tensor) else v}" for n, v in given)
        return f"Coded({', '.join(shown)})"

    @property
    def bits(self) -> Tensor:
        """Total bits of each picture ``[B]``: the map and the side bits."""
        return self.bits_map.flatten(1).sum(1) + self.side_bits

    @property
    def bpp(self) -> Tensor:
        """Bits per pixel of each unpadded picture ``[B]``."""
        return self.bits / (self.bits_map.shape[-2] * self.bits_map.shape[-1])


class Codec(nn.Module, ABC):
    """Interface of all codecs: pictures to reconstructions and their bits, to files and back.

    ::

        image [B,C,H,W] ──forward──► Coded(reconstruction, latent, bits_map, side_bits, rate)
              └──compress──► list of bytes ──decompress──► reconstruction

    ``decompress(compress(x))`` equals the reconstruction of ``forward(x)`` in evaluation mode, to
    the bit, in any batch (for learned codecs, unless built with ``exact=False``). Codecs without
    nets return the reconstruction in the type of the picture; half precision rounds it. An empty
    batch gives an empty list of files; an empty list cannot be decompressed, since it has no
    picture size.
    """

    @abstractmethod
    def forward(self, image: Tensor, *, generator: Generators | None = None) -> Coded:
        """Code and decode pictures in 0..1, keeping the graph to the input.

        Parameters
        ----------
        image : Tensor ``[B, C, H, W]``
            Floating point.
        generator : torch.Generator or a sequence of them, optional
            Random numbers of the noise in training: one generator, or one for each picture; by
            default torch's global generator. Codecs without randomness ignore it.

        Returns
        -------
        Coded

        Raises
        ------
        ValueError
            If the pictures have a wrong shape, number of channels, or values that the codec cannot
            code. Learned codecs and :class:`Autoencoder` do not check values here, since on a GPU
            every step would wait for the result: a picture that is not finite gives NaN, and does
            not affect the others of its batch.
        """

    @abstractmethod
    def compress(self, image: Tensor) -> list[bytes]:
        """Write each picture as a self-contained byte string.

        Parameters
        ----------
        image : Tensor ``[B, C, H, W]``
            Floating point.

        Returns
        -------
        list of bytes
            One for each picture.

        Raises
        ------
        ValueError
            If the pictures have a wrong shape, number of channels, or values that the codec cannot
            code.
        """

    @abstractmethod
    def decompress(self, payloads: list[bytes]) -> Tensor:
        """Decode files that :meth:`compress` wrote.

        Parameters
        ----------
        payloads : list of bytes
            One for each picture; all pictures of one size.

        Returns
        -------
        Tensor ``[B, C, H, W]`` in 0..1

        Raises
        ------
        CorruptStream
            If a payload is cut, or was not written by this codec; if it is damaged, in formats with
            a checksum: learned codecs, k-means and PNG. In the others (JPEG, WebP, JPEG 2000, AVIF)
            damage may give a wrong picture instead.
        ValueError
            If there are no payloads, or their pictures differ in size.
        """

    def header_bytes(self, size: tuple[int, int], channels: int = 3) -> int | None:
        """Return the number of bytes that a file has for any picture, whatever its content.

        :meth:`compress.RateCurve.without_header` leaves them out.

        Parameters
        ----------
        size : (int, int)
            Height and width, pixels.
        channels : int
            Channels of the pictures.

        Returns
        -------
        int or None
            None if the codec does not know.
        """
        del size, channels
        return None

    def qualities(self) -> Sequence[float]:
        """Return the qualities to which the codec can be set, in ascending order.

        A codec that has some holds the current one in its attribute ``quality``, which may be set
        at any time.

        Returns
        -------
        sequence of float
            A ``range`` if only its whole numbers are allowed. Empty without a choice.
        """
        return ()

    @contextmanager
    def at(self, quality: float) -> Iterator[None]:
        """Set another quality for all pictures within a ``with`` block.

        Parameters
        ----------
        quality : float
            See :meth:`qualities`.

        Yields
        ------
        None
            The codec is restored at the end of the block. Other threads see the change: give each
            thread a ``copy.deepcopy``.

        Raises
        ------
        TypeError, ValueError
            If the quality is not one number, or outside the range of the codec's qualities, or no
            whole number where it has only those, or there is no choice.
        """
        if not is_number(quality):
            raise TypeError(f"quality must be one number, not {quality!r}")
        quality = float(quality)
        name, known = type(self).__name__, self.qualities()
        if len(known) == 0:
            raise ValueError(f"{name} has no choice of qualities: leave quality out")
        if isinstance(known, range):
            if quality not in known:
                raise ValueError(
                    f"the quality of {name} must be a whole number, {known[0]} to {known[-1]}, "
                    f"got {quality:g}"
                )
            quality = int(quality)
        before = self.quality
        # It may refuse one by itself, and know the reason.
        self.quality = quality  # pyright: ignore[reportAttributeAccessIssue]
        try:
            if not known[0] <= quality <= known[-1]:
                raise ValueError(
                    f"the quality of {name} must be {known[0]:g} to {known[-1]:g}, got {quality:g}"
                )
            yield
        finally:
            self.quality = before


def check_image(image: Tensor, channels: int | tuple[int, ...]) -> None:
    """Raise a ValueError unless ``image`` is a floating-point batch that a codec can take."""
    allowed = (channels,) if isinstance(channels, int) else channels
    named = " or ".join(str(n) for n in allowed)
    if not isinstance(image, Tensor):
        raise ValueError(f"expected a tensor [B, {named}, H, W], got {type(image).__name__}.")
    given = f"{image.dtype} {list(image.shape)}"
    # A batch may be empty, but a picture may not.
    without_pixels = image.ndim == 4 and 0 in image.shape[1:]
    if image.ndim != 4 or not image.is_floating_point() or without_pixels:
        advice = "Add a batch axis with image[None], and divide 8-bit values by 255."
        if without_pixels:
            advice = "There is nothing to code in pictures without pixels: leave them out."
        raise ValueError(
            f"expected a floating-point batch [B, {named}, H, W] of pictures in 0..1, got {given}. "
            f"{advice}"
        )
    if image.shape[1] not in allowed:
        raise ValueError(
            f"expected pictures of {named} channels, got {given}. "
            "Build the codec for this number of channels."
        )


def check_latent(latent: Tensor, channels: int, stride: int, size: tuple[int, int]) -> None:
    """Raise a ValueError unless ``latent`` has the shape for pictures of ``size``."""
    if not isinstance(size, Sequence) or len(size) != 2:
        raise ValueError(f"size must be (height, width) of the pictures, pixels, got {size!r}.")
    grid = tuple(-(-side // stride) for side in size)
    wanted = f"[B, {channels}, {grid[0]}, {grid[1]}] of pictures of {size[0]}x{size[1]}"
    if not isinstance(latent, Tensor):
        raise ValueError(f"expected a latent {wanted}, got {type(latent).__name__}.")
    if tuple(latent.shape[1:]) != (channels, *grid) or not latent.is_floating_point():
        raise ValueError(f"expected a latent {wanted}, got {latent.dtype} {list(latent.shape)}.")


def check_finite(x: Tensor, what: str, *, limit: float = torch.inf) -> None:
    """Raise a ValueError that names the pictures of ``x`` ``[B, ...]`` with unusable values."""
    # nan counts as the maximum; a mask of all values takes ten times as long.
    if x.numel() == 0:
        return
    greatest = x.detach().abs().flatten(1).amax(1)
    good = greatest.isfinite() & (greatest <= limit)
    if not torch.compiler.is_compiling():
        call_unseen(lambda _: None, good)  # refuses tensors without accessible numbers
    if not good.all():
        bad = (~good).nonzero().flatten().tolist()
        more = f" and {len(bad) - 10} more" if len(bad) > 10 else ""
        beyond = "" if limit == torch.inf else f" or beyond {limit:g}"
        raise ValueError(f"{what} of picture {bad[:10]}{more} in the batch are not finite{beyond}.")


class _Unseen(torch.autograd.Function):
    """A call with an unwrapped tensor, and without a gradient."""

    @staticmethod
    def forward(x: Tensor, call: Callable[[Tensor], object]) -> Tensor:
        call(x)
        return x.new_empty(0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ANN401
        ctx.mark_non_differentiable(output)

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> tuple[None, None]:  # noqa: ANN401
        return None, None

    @staticmethod
    def jvp(ctx: Any, *_: object) -> None:  # noqa: ANN401
        return None

    @staticmethod
    def vmap(*_: object) -> NoReturn:
        raise ValueError(
            "a codec reads the values of its pictures, which torch.vmap hides: give it the "
            "pictures as one batch [B, C, H, W]."
        )


def call_unseen(call: Callable[[Tensor], object], x: Tensor) -> None:
    """Call with the plain values of a tensor, which ``torch.func`` wraps and hides from NumPy.

    No gradient passes through. ``vmap``, under which a tensor has no values, raises a ValueError.
    """
    _Unseen.apply(x, call)


def check_payloads(payloads: Sequence[bytes]) -> None:
    """Raise a ValueError unless ``payloads`` is a non-empty sequence of byte strings."""
    listed = isinstance(payloads, Sequence) and not isinstance(payloads, bytes | str)
    if not listed or not all(isinstance(data, bytes) for data in payloads):
        given = type(payloads).__name__
        if listed:
            kinds = sorted({type(data).__name__ for data in payloads})
            given += f" of {' and '.join(kinds)}"
        raise ValueError(
            f"expected a list of byte strings, one for each picture, got {given}. Put a single "
            "file into a list, and other buffers through bytes()."
        )
    if not payloads:
        raise ValueError(
            "there is nothing to decompress: the list of payloads is empty, and the size of the "
            "pictures [B, C, H, W] is only known from a file. Skip empty batches."
        )


def check_same_size(sizes: list[tuple[int, ...]]) -> None:
    """Raise a ValueError unless all pictures of a batch have the same size."""
    if len(set(sizes)) > 1:
        found = ", ".join("x".join(map(str, size)) for size in sorted(set(sizes))[:10])
        raise ValueError(f"pictures of different sizes do not form one batch: {found}.")


def check_tensors(expected: str, *given: object) -> None:
    """Raise a TypeError that says what was ``expected`` unless all arguments are tensors."""
    for x in given:
        if not isinstance(x, Tensor):
            raise TypeError(
                f"expected {expected}, got {type(x).__name__}: torch.from_numpy converts an array "
                "to a tensor."
            )


def spread(cells: Tensor, stride: int, size: tuple[int, int]) -> Tensor:
    """Spread each cell ``[B, 1, h, w]`` evenly over its pixels within ``size``: ``[B, 1, H, W]``.

    The sum is preserved, also where the cells extend beyond the picture.
    """
    for dim, length in zip((-2, -1), size, strict=True):
        place = torch.arange(length, device=cells.device)
        visible = (length - place // stride * stride).clamp_max(stride)  # pixels of the cell
        visible = visible.unsqueeze(-1) if dim == -2 else visible
        cells = cells.repeat_interleave(stride, dim).narrow(dim, 0, length) / visible
    return cells
