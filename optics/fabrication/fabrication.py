"""Fabrication: a trained relief as files for a manufacturer, and back.

::

    HeightMap ──export_height_map──► PATH.tif (16-bit codes) ──import_height_map──► Relief
                                     PATH.csv (micrometres)                         the same PSF
                  profilometer ────► .tif, .csv ───unit, spacing, material────────►
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from optics.material import refractive_index
from optics.pupil.height_map import EtchedRelief, HeightMap, check_depth
from optics.quantity import (
    check_finite,
    check_positive,
    check_wavelength,
    index_of,
    looked_at,
    single,
)

from .maker_file import (
    CODES,
    ENDINGS,
    ORIENTATION,
    as_number,
    as_table,
    as_tiff,
    check_format,
    check_samples,
    metadata_number,
    read_table,
    read_tiff,
    target_paths,
    write_all,
)

__all__ = [
    "FabricatedRelief",
    "Relief",
    "ReliefReport",
    "export_height_map",
    "import_height_map",
    "relief_element",
    "relief_report",
]

_FORMAT, _VERSION = "lens2label height map", 1


class FabricatedRelief(NamedTuple):
    """A relief as read from a file.

    Attributes
    ----------
    height : Tensor, float64 ``[H, W]``, metres
    spacing : float, metres
        Sampling interval.
    material : str or float
        A name of :data:`optics.MATERIALS`, or a refractive index.
    design_wavelength : float, metres
    levels : int or None
        Number of different heights to fabricate.
    """

    height: Tensor
    spacing: float
    material: str | float
    design_wavelength: float
    levels: int | None


class ReliefReport(NamedTuple):
    """Numbers of a relief that a manufacturer needs first.

    Attributes
    ----------
    lowest, highest : float, metres
    levels : int
        Number of different heights.
    smallest_feature : float, metres
        Shortest run of equal heights along a row or a column. The tip of a rounded shape counts by
        its narrowest row; a relief without levels has features of one sample.
    """

    lowest: float
    highest: float
    levels: int
    smallest_feature: float


class Relief(EtchedRelief):
    """A fixed relief, as fabricated; only a drawn etch error changes its height.

    Parameters
    ----------
    height : Tensor ``[H, W]``, metres
        It stays in float32 or double when the module is converted to half precision, because
        micrometres underflow in float16.
    spacing : float, metres
        Sampling interval.
    material : str or float
        A name of :data:`optics.MATERIALS`, or a refractive index for all wavelengths.

    Raises
    ------
    TypeError
        When the height is not a Tensor.
    ValueError
        When the height is not real and finite ``[H, W]`` or its range exceeds the width of the
        relief, as in micrometres, the spacing is not positive, or the material is unknown.
    """

    height: Tensor

    def __init__(self, height: Tensor, *, spacing: float, material: str | float) -> None:
        _check_height(height)
        super().__init__((height.shape[0], height.shape[1]), spacing, _checked_material(material))
        _check_span(height, self.spacing)
        self.register_buffer("height", single(height.detach()).clone())

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        def wide(value: Tensor) -> Tensor:
            made = fn(value)
            # Half precision is not applied, only the new device.
            return made if single(made) is made else value.to(made.device)

        return super()._apply(wide, recurse)

    def _height(self) -> Tensor:
        return self.height

    def extra_repr(self) -> str:
        """Name the grid and the material."""
        return f"{super().extra_repr()}, material={self.material!r}"


def relief_element(relief: FabricatedRelief) -> Relief:
    """Element of a ``relief`` from a file, in torch's default type; ``.double()`` makes it float64.

    Raises
    ------
    TypeError
        When the relief is not from :func:`import_height_map`.
    """
    if not isinstance(relief, FabricatedRelief):
        raise TypeError(
            "relief must be what optics.import_height_map returns, not "
            f"{type(relief).__name__}: of a height make an optics.Relief(...)"
        )
    height = relief.height.to(torch.get_default_dtype())
    return Relief(height, spacing=relief.spacing, material=relief.material)


def relief_report(height: Tensor | HeightMap, *, spacing: float | None = None) -> ReliefReport:
    """Numbers of a relief for its manufacturer: depth, levels, smallest feature.

    Parameters
    ----------
    height : Tensor ``[H, W]``, metres; or HeightMap
    spacing : float, metres
        Sampling interval, for a Tensor only; an element has its own.

    Returns
    -------
    ReliefReport

    Raises
    ------
    TypeError
        For anything else than a tensor or a HeightMap.
    ValueError
        When the height is not real and finite ``[H, W]``, or the spacing is missing, not
        positive, or given beside that of an element.
    """
    if isinstance(height, HeightMap):
        _refuse_own({"spacing": spacing})
        height, spacing = height.height, height.spacing
    elif spacing is None:
        raise ValueError("spacing, metres, is needed with a tensor")
    check_positive("spacing", spacing, "metres")
    _check_height(height)
    heights, label = np.unique(_numbers(height), return_inverse=True)
    label = label.reshape(height.shape)
    shortest = min(_shortest_run(label), _shortest_run(label.T))
    return ReliefReport(float(heights[0]), float(heights[-1]), len(heights), shortest * spacing)


def _shortest_run(label: np.ndarray) -> int:
    """Fewest equal neighbours along a row, itself included."""
    starts = np.ones(label.shape, dtype=bool)
    starts[:, 1:] = label[:, 1:] != label[:, :-1]
    places = np.append(np.flatnonzero(starts), starts.size)
    return int(np.diff(places).min())


def export_height_map(
    height: Tensor | HeightMap,
    path: str | Path,
    *,
    spacing: float | None = None,
    material: str | float | None = None,
    design_wavelength: float | None = None,
    levels: int | None = None,
    overwrite: bool = False,
) -> tuple[Path, Path]:
    """Write a relief as a 16-bit greyscale TIFF and as a table in micrometres.

    Parameters
    ----------
    height : Tensor ``[H, W]``, metres; or HeightMap
        An element has its own values of the other quantities; it is written without its etch error.
    path : str or Path
        Path without an ending, or with one of the two: ``PATH.tif`` and ``PATH.csv`` are written.
    spacing : float, metres
        Sampling interval.
    material : str or float
        A name of :data:`optics.MATERIALS`, or a refractive index.
    design_wavelength : float, metres
    levels : int, optional
        Number of different heights to fabricate.
    overwrite : bool
        Replace existing files.

    Returns
    -------
    (Path, Path)
        The TIFF and the table.

    Raises
    ------
    TypeError
        For anything but a Tensor or a HeightMap; use :func:`optics.export_plate` for other
        elements.
    ValueError
        For a height that is not real ``[H, W]`` and finite or whose range exceeds the width of the
        relief, a quantity that is missing, not allowed, or given for an element, or a path with the
        ending of another format.
    FileExistsError
        When a file exists already.

    Notes
    -----
    The height of a TIFF pixel is ``offset + code * height of one code``, with codes 0 to 65535 from
    the lowest to the highest point; the rounding error is at most ``(highest - lowest) / 131070``.
    Both quantities, in metres, are in the tag ImageDescription, as JSON with all others; the
    resolution tags are in pixels/cm. The table has them in lines that begin with ``#``, then one
    row for each y, with nine decimals, 1 fm. Each file is written completely or not at all.
    """
    if isinstance(height, HeightMap):
        _refuse_own(
            {
                "spacing": spacing,
                "material": material,
                "design_wavelength": design_wavelength,
                "levels": levels,
            }
        )
        spacing, material = height.spacing, height.material
        design_wavelength, levels = height.design_wavelength, height.levels
        height = height.height
    _check_height(height)
    numbers = _numbers(height)
    metadata = _checked_metadata(
        {
            "spacing_m": spacing,
            "material": material,
            "design_wavelength_m": design_wavelength,
            "levels": levels,
        }
    )
    check_wavelength("design_wavelength", metadata["design_wavelength_m"])
    _check_span(height, metadata["spacing_m"])
    targets = target_paths(path, overwrite=overwrite)
    metadata |= {"size": list(numbers.shape), "orientation": ORIENTATION}
    write_all(targets, (_tiff(numbers, metadata), _table(numbers, metadata)))
    return targets[0], targets[1]


def import_height_map(
    path: str | Path,
    *,
    unit: float | None = None,
    spacing: float | None = None,
    material: str | float | None = None,
    design_wavelength: float | None = None,
) -> FabricatedRelief:
    """Read a relief that :func:`export_height_map` wrote, or a table or TIFF of heights alone.

    Parameters
    ----------
    path : str or Path
        A ``.tif``, exact to half a code, or a ``.csv``, exact to 1 fm.
    unit : float, metres, optional
        Height of one code, or of 1 in a table or a floating-point TIFF, for a file of another
        program, such as a profilometer: 1e-6 for micrometres. This and the other three quantities
        are required for such a file; they must not be given for one of :func:`export_height_map`,
        which contains all four. Row 0 of the file is the least y.
    spacing : float, metres, optional
        Sampling interval.
    material : str or float, optional
        A name of :data:`optics.MATERIALS`, or a refractive index.
    design_wavelength : float, metres, optional

    Returns
    -------
    FabricatedRelief

    Raises
    ------
    ValueError
        For a file of another format, a damaged one, or one with empty cells or several pages; the
        message names the file and the fault. For a quantity that is missing, not allowed, or in the
        file already.
    """
    path = Path(path)
    own = {
        "unit": unit,
        "spacing": spacing,
        "material": material,
        "design_wavelength": design_wavelength,
    }
    if path.suffix.lower() not in ENDINGS:
        raise ValueError(f"{path}: a height map is a .tif or a .csv, not {path.suffix!r}")
    content = path.read_bytes()
    try:
        numbers, metadata = _read(content, own, table=path.suffix.lower() == ".csv")
        checked = _checked_metadata(metadata)
        check_samples(numbers, metadata, "heights")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return FabricatedRelief(
        torch.from_numpy(numbers),
        checked["spacing_m"],
        checked["material"],
        checked["design_wavelength_m"],
        checked["levels"],
    )


def _tiff(numbers: np.ndarray, metadata: dict[str, Any]) -> bytes:
    lowest, highest = float(numbers.min()), float(numbers.max())
    # A flat relief also needs some height of one code; any will do.
    code = (highest - lowest) / CODES or 1e-12
    codes = np.rint((numbers - lowest) / code).clip(0, CODES).astype(np.uint16)
    described = {
        "format": _FORMAT,
        "version": _VERSION,
        "units": "height in metres = offset_m + code * code_height_m",
        "code_height_m": code,
        "offset_m": lowest,
        **metadata,
    }
    return as_tiff(codes, described, spacing=metadata["spacing_m"])


def _table(numbers: np.ndarray, metadata: dict[str, Any]) -> bytes:
    described = {"format": _FORMAT, "version": _VERSION, "units": "micrometres", **metadata}
    return as_table(numbers * 1e6, described, digits=9)


def _read(
    content: bytes, own: dict[str, float | str | None], *, table: bool
) -> tuple[np.ndarray, dict[str, Any]]:
    """Heights in metres, and the metadata, of one of the two files or of another program's."""
    read = read_table if table else read_tiff
    numbers, metadata = read(content, bare=True)
    if "format" not in metadata:
        return _heights_alone(numbers, own)
    given = [name for name, value in own.items() if value is not None]
    if given:
        raise ValueError(f"it brings its own {', '.join(given)}; leave them out")
    check_format(metadata, _FORMAT, _VERSION)
    if not table:
        code = metadata_number(metadata, "code_height_m", positive=True)
        return numbers.astype(np.float64) * code + metadata_number(metadata, "offset_m"), metadata
    if metadata.get("units") != "micrometres":
        raise ValueError(f"units must be micrometres, not {metadata.get('units')!r}")
    return numbers * 1e-6, metadata


def _heights_alone(
    numbers: np.ndarray, own: dict[str, float | str | None]
) -> tuple[np.ndarray, dict[str, Any]]:
    """Heights in metres of a file without metadata, and those that were given."""
    missing = [name for name, value in own.items() if value is None]
    if missing:
        raise ValueError(
            f"its metadata does not name the format {_FORMAT!r}; of heights alone give "
            f"{', '.join(missing)} as well (unit is the height of 1 in the file, metres)"
        )
    if numbers.size == 0:
        raise ValueError("it holds no heights")
    unit = metadata_number({"unit_m": own["unit"]}, "unit_m", positive=True)
    check_wavelength("design_wavelength", own["design_wavelength"])  # pyright: ignore[reportArgumentType]
    return numbers.astype(np.float64) * unit, {
        "spacing_m": own["spacing"],
        "material": own["material"],
        "design_wavelength_m": own["design_wavelength"],
        "size": list(numbers.shape),
    }


def _checked_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    """The quantities that a relief needs, of the right types."""
    levels = metadata.get("levels")
    whole = index_of(levels)
    if levels is not None and (whole is None or whole < 2):
        raise ValueError(f"levels must be a whole number from 2 on, or none, not {levels!r}")
    return {
        "spacing_m": metadata_number(metadata, "spacing_m", positive=True),
        "material": _checked_material(metadata.get("material")),
        "design_wavelength_m": metadata_number(metadata, "design_wavelength_m", positive=True),
        "levels": whole,
    }


def _checked_material(material: object) -> str | float:
    if isinstance(material, str):
        # Raises for a name that is not known, with those that are; any wavelength will do.
        refractive_index(material, 589.3e-9)
        return material
    index = as_number(material)
    if index is None or not index > 1:
        raise ValueError(f"material must name a glass or be an index above 1, not {material!r}")
    return index


def _check_height(height: Tensor) -> None:
    if not isinstance(height, Tensor):
        raise TypeError(
            f"height must be a Tensor [H, W], metres, or a HeightMap, not {type(height).__name__}; "
            "export_plate writes transmittance and phase of any element"
        )
    if height.ndim != 2 or not height.is_floating_point() or height.numel() == 0:
        raise ValueError(
            f"height must be real floating point [H, W], in metres, not {height.dtype} "
            f"{tuple(height.shape)}"
        )
    check_finite("height", height.detach(), "metres")


def _check_span(height: Tensor, spacing: float) -> None:
    """Raise a ValueError if the range of heights exceeds the width of the relief (CPU only)."""
    if looked_at(height):
        lowest, highest = (float(each) for each in height.detach().aminmax())
        check_depth("height", highest - lowest, (height.shape[0], height.shape[1]), spacing)


def _numbers(height: Tensor) -> np.ndarray:
    numbers = height.detach().cpu().double().numpy()
    if not np.isfinite(numbers).all():  # not checked before on an accelerator
        raise ValueError("height must be finite, in metres; it has NaN or infinite elements")
    return numbers


def _refuse_own(quantities: dict[str, float | str | None]) -> None:
    given = [name for name, value in quantities.items() if value is not None]
    if given:
        raise ValueError(f"a HeightMap brings its own {', '.join(given)}; leave them out")
