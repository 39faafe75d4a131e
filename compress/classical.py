"""Codecs that everybody has: baselines whose files any viewer opens."""

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .bitstream import MAX_VALUES, CorruptStream
from .codec import Codec, Coded, check_finite, check_image, check_payloads, check_same_size

__all__ = ["JPEG"]


class JPEG(Codec):
    """Baseline JPEG through Pillow, with Huffman tables optimised for each picture.

    ::

        image ─8 bit─► file ─► decoded [B,C,H,W]
                        └─ 8 len(file) ─► bits_map

    ``forward`` writes and reads the actual file in both modes. The reconstruction has the identity
    as its gradient to the picture (straight through the whole codec, clipping included); the bits
    have none. The file's bits, tables and all, are spread evenly over the pixels, and
    ``side_bits`` is 0.

    The files are plain JFIF without a container or a checksum: :meth:`decompress` refuses what
    Pillow cannot read to the end, but damage inside the scan decodes as something else.

    Parameters
    ----------
    quality : int
        1 to 100, libjpeg's scale.
    subsampling : {"4:2:0", "4:2:2", "4:4:4"}
        Resolution of the chrominance; without effect on grey pictures.

    Raises
    ------
    ValueError
        If the quality or the subsampling is none of these.
    """

    _SUBSAMPLING = ("4:2:0", "4:2:2", "4:4:4")
    _MAX_SIDE = 65500  # of libjpeg
    _CHANNELS = (1, 3)

    def __init__(self, quality: int = 75, *, subsampling: str = "4:2:0") -> None:
        super().__init__()
        if quality not in range(1, 101):
            raise ValueError(f"quality must be a whole number of 1 to 100, got {quality!r}.")
        if subsampling not in self._SUBSAMPLING:
            raise ValueError(
                f"subsampling must be one of {self._SUBSAMPLING}, got {subsampling!r}."
            )
        self.quality = int(quality)
        self.subsampling = subsampling

    def extra_repr(self) -> str:
        """Show the settings."""
        return f"quality={self.quality}, subsampling={self.subsampling!r}"

    def forward(self, image: Tensor, *, generator: torch.Generator | None = None) -> Coded:
        """Code and decode ``image`` ``[B, C, H, W]``, C = 1 or 3; values are clipped to 0..1.

        Raises
        ------
        ValueError
            If the pictures are not grey or RGB, not finite, or of a size that JPEG cannot hold.
        """
        del generator  # nothing here is random
        files = self.compress(image)
        decoded = self.decompress(files).to(image)
        height, width = image.shape[-2:]
        bits = torch.tensor([8 * len(data) for data in files], device=image.device)
        price = bits.to(torch.promote_types(image.dtype, torch.float32)) / (height * width)
        return Coded(
            # The bracket is exactly 0: the value is the decoded one, the gradient that of image.
            reconstruction=decoded + (image - image.detach()),
            latent=None,
            bits_map=price.view(-1, 1, 1, 1).repeat(1, 1, height, width),
            side_bits=torch.zeros_like(price),
            rate="bytes",
        )

    @torch.no_grad()
    def compress(self, image: Tensor) -> list[bytes]:
        """Write each picture ``[B, C, H, W]``, C = 1 or 3, as a JFIF file; clips to 0..1.

        Raises
        ------
        ValueError
            If the pictures are not grey or RGB, not finite, or of a size that JPEG cannot hold.
        """
        check_image(image, self._CHANNELS)
        check_finite(image, "the values")
        _, channels, height, width = image.shape
        if max(height, width) > self._MAX_SIDE or channels * height * width > MAX_VALUES:
            raise ValueError(
                f"a {height}x{width} picture is too large for JPEG: at most {self._MAX_SIDE} "
                f"pixels along a side and {MAX_VALUES} values here. Code it in tiles."
            )
        levels = (255 * image.clamp(0, 1)).round().to("cpu", torch.uint8)
        return [self._encode(picture) for picture in levels.movedim(1, -1).numpy()]

    def decompress(self, payloads: list[bytes]) -> Tensor:
        """Return Pillow's decode ``[B, C, H, W]``, float32 on the CPU, of grey or RGB JPEG files.

        Raises
        ------
        CorruptStream
            If a payload is not a JPEG file, is cut short, or is neither grey nor RGB.
        ValueError
            If there are no payloads, or their pictures differ in shape.
        """
        check_payloads(payloads)
        pictures = [_decode(data, f"payload {i}") for i, data in enumerate(payloads)]
        check_same_size([picture.shape for picture in pictures])
        return torch.from_numpy(np.stack(pictures)).movedim(-1, 1).contiguous() / 255

    def _encode(self, picture: np.ndarray) -> bytes:
        """Write one picture ``[H, W, C]`` of 8-bit values."""
        height, width, channels = picture.shape
        mode = Image.fromarray(picture[..., 0] if channels == 1 else picture)

        def write(*, optimize: bool) -> bytes:
            file = io.BytesIO()
            mode.save(
                file,
                "JPEG",
                quality=self.quality,
                subsampling=self.subsampling,
                optimize=optimize,
            )
            return file.getvalue()

        plain = write(optimize=False)
        # Optimising, Pillow gives libjpeg one buffer for the whole file and fails where that does
        # not fit ("broken data stream"), as with noise at high quality: such a file stays plain.
        buffer = max(2**16, (2 if self.quality >= 95 else 1) * height * width)
        return write(optimize=True) if len(plain) < buffer else plain


def _decode(data: bytes, name: str) -> np.ndarray:
    """Read one grey or RGB JPEG file to 8-bit values ``[H, W, C]``."""
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as picture:
            if picture.mode not in ("L", "RGB"):
                raise CorruptStream(f"{name}: a JPEG of mode {picture.mode}, not grey or RGB.")
            if picture.width * picture.height * len(picture.getbands()) > MAX_VALUES:
                raise CorruptStream(f"{name}: {picture.height}x{picture.width} is too large.")
            values = np.asarray(picture)
    except (
        OSError,
        SyntaxError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        raise CorruptStream(f"{name}: not a complete JPEG file ({error}).") from error
    return values[..., None] if values.ndim == 2 else values
