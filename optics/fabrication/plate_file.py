"""Plates: transmittance and phase of any element as files for a manufacturer, and back.

::

    Tensor, Element,  ──export_plate──► PATH_transmittance.tif, .csv ──import_plate──► complex
    FourierFilter                       PATH_phase.tif, .csv                           [H, W]

Write a relief in a known glass with ``fabrication`` instead, which keeps its heights.
"""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from optics.imaging.fourier_filter import FourierFilter
from optics.pupil.element import Element
from optics.quantity import (
    check_complex,
    check_finite,
    check_positive,
    check_wavelength,
    one_number,
)

from .maker_file import (
    CODES,
    ENDINGS,
    ORIENTATION,
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

__all__ = ["FabricatedPlate", "PlateFiles", "export_plate", "import_plate"]

_FORMAT, _VERSION = "lens2label plate", 1
_TURN = 2 * math.pi
#: Value of a code, and the unit of the table, of each of the two.
_CODE = {"transmittance": 1 / CODES, "phase": _TURN / (CODES + 1)}
_UNIT = {"transmittance": "share of the light", "phase": "radians"}


class FabricatedPlate(NamedTuple):
    """A plate as read from its files.

    ``AmplitudeMask(t.abs().square(), spacing=..., trainable=False)`` and
    ``PhaseMask(t.angle(), spacing=...)`` make elements of it.

    Attributes
    ----------
    transmission : Tensor, complex128 ``[H, W]``
        Amplitude, ``sqrt(transmittance) exp(i phase)``.
    spacing : float, metres
        Sampling interval.
    wavelength : float or None, metres
        Wavelength of the phase; None if it is not in the files.
    """

    transmission: Tensor
    spacing: float
    wavelength: float | None


class PlateFiles(NamedTuple):
    """Paths of the files that :func:`export_plate` wrote.

    Attributes
    ----------
    transmittance_tiff, transmittance_table, phase_tiff, phase_table : Path
    """

    transmittance_tiff: Path
    transmittance_table: Path
    phase_tiff: Path
    phase_table: Path


def export_plate(
    plate: Tensor | Element | FourierFilter,
    path: str | Path,
    *,
    spacing: float | None = None,
    wavelength: float | None = None,
    overwrite: bool = False,
) -> PlateFiles:
    """Write transmittance and phase of a plate, as 16-bit greyscale TIFF and as tables.

    The transmittance is that of power, ``|t|^2``, as it is measured and as the argument of
    :class:`optics.AmplitudeMask`; the optical density is ``-log10`` of it. The phase is that of
    ``t``, in 0 to ``2 pi``, positive for a delay. All files are written, also for a plate without
    absorption or with a real transmission.

    Parameters
    ----------
    plate : Tensor, complex or real ``[H, W]``; Element; or FourierFilter
        Amplitude transmission t, ``|t| <= 1``. An element is written as it is, including a drawn
        etch error.
    path : str or Path
        ``PATH_transmittance.tif``, ``PATH_transmittance.csv``, ``PATH_phase.tif`` and
        ``PATH_phase.csv`` are written; an ending ``.tif`` or ``.csv`` is dropped.
    spacing : float, metres
        Sampling interval; an element has its own. In the Fourier plane of a 4f system of focal
        length f it is ``wavelength * f / (P * pixel_pitch)`` for a filter of P x P samples; one
        that is not square has two intervals, and is refused.
    wavelength : float, metres, optional
        Wavelength of the phase. By default the ``design_wavelength`` of an element that has one; it
        is required for other elements whose transmission depends on it.
    overwrite : bool
        Replace existing files.

    Returns
    -------
    PlateFiles

    Raises
    ------
    TypeError
        For anything but a Tensor, an element or a filter; for a spacing or a wavelength that is not
        one number, or is a parameter.
    ValueError
        For a transmission that is not ``[H, W]`` and finite, or with |t| > 1, as a plate is
        passive; for a filter that is not square; for a spacing or a wavelength that is missing or
        not positive, or a spacing given for an element; for a wavelength that is not within 1e-9 to
        1e-2 metres, or the ending of another format.
    FileExistsError
        When a file exists already.

    Notes
    -----
    A code of the TIFF is 1/65535 of the light, or 1/65536 of 2 pi; the rounding error is at most
    half a code. The resolution tags are in pixels/cm. The tables have one row for each y, with
    twelve decimals, and the pitch and the wavelength in micrometres in lines that begin with ``#``.
    Where no light passes, the phase is 0. Each file is written completely or not at all.
    """
    # JSON cannot hold numbers of numpy or torch.
    if spacing is not None:
        spacing = one_number("spacing", spacing, "metres")
    if wavelength is not None:
        wavelength = one_number("wavelength", wavelength, "metres")
    transmission, spacing, wavelength = _of(plate, spacing, wavelength)
    if spacing is None:
        raise ValueError("spacing, metres, is needed with a tensor or a filter")
    check_positive("spacing", spacing, "metres")
    if wavelength is not None:
        check_wavelength("wavelength", wavelength)
    metadata = {
        "pitch_um": spacing * 1e6,
        "wavelength_um": None if wavelength is None else wavelength * 1e6,
    }
    numbers = _numbers(transmission)
    parts = [f"_{quantity}" for quantity in numbers]
    targets = target_paths(path, parts, overwrite=overwrite)
    contents = []
    for quantity, values in numbers.items():
        described = {
            "format": _FORMAT,
            "version": _VERSION,
            "quantity": quantity,
            "units": _UNIT[quantity],
            **metadata,
            "size": list(values.shape),
            "orientation": ORIENTATION,
        }
        codes = np.rint(values / _CODE[quantity]).astype(np.int64)
        # A phase of 2 pi is 0.
        codes = (codes % (CODES + 1)).astype(np.uint16)
        coded = described | {"code": _CODE[quantity]}
        contents += [
            as_tiff(codes, coded, spacing=spacing),
            as_table(values, described, digits=12),
        ]
    write_all(targets, contents)
    return PlateFiles(*targets)


def import_plate(path: str | Path) -> FabricatedPlate:
    """Read a plate that :func:`export_plate` wrote.

    Parameters
    ----------
    path : str or Path
        PATH as given to :func:`export_plate`, or one of the paths that it returned. With ``.tif``
        the TIFFs are read, exact to half a code; with ``.csv`` or without an ending the tables,
        exact to twelve digits.

    Returns
    -------
    FabricatedPlate

    Raises
    ------
    ValueError
        For files of another format, damaged files, or files of different plates; the message names
        the file and the fault.
    """
    path = Path(path)
    table = path.suffix.lower() not in (".tif", ".tiff")
    stem = path.with_suffix("") if path.suffix.lower() in ENDINGS else path
    ending = ".csv" if table else ".tif"
    # PATH may end as one of its own files does: what was returned comes second.
    own = next((f"_{part}" for part in _CODE if stem.name.endswith(f"_{part}")), "")
    if own and not stem.with_name(f"{stem.name}_phase{ending}").exists():
        stem = stem.with_name(stem.name.removesuffix(own))
    files = [stem.with_name(f"{stem.name}_{quantity}{ending}") for quantity in _CODE]
    (transmittance, first), (phase, second) = (
        _read(file, quantity, table=table) for file, quantity in zip(files, _CODE, strict=True)
    )
    if first != second:
        raise ValueError(
            f"{files[1]}: size, pitch and wavelength are {second}, in {files[0].name} {first}: "
            "they are not of one plate"
        )
    modulus, angle = torch.from_numpy(np.sqrt(transmittance)), torch.from_numpy(phase)
    wavelength = first["wavelength_um"]
    return FabricatedPlate(
        torch.polar(modulus, angle),
        first["pitch_um"] / 1e6,
        None if wavelength is None else wavelength / 1e6,
    )


def _of(
    plate: Tensor | Element | FourierFilter, spacing: float | None, wavelength: float | None
) -> tuple[Tensor, float | None, float | None]:
    """Transmission ``[H, W]``, spacing and wavelength of what was given."""
    if isinstance(plate, Tensor):
        return plate, spacing, wavelength
    if isinstance(plate, FourierFilter):
        passed = plate.transmission
        rows, columns = passed.shape
        if rows != columns:
            raise ValueError(
                f"a FourierFilter of {rows} x {columns} samples has another sampling interval "
                "along y than along x in the Fourier plane, and the files hold one: resample its "
                "transmission to one interval and export that, or train a filter for square "
                "pictures"
            )
        return passed, spacing, wavelength
    if not isinstance(plate, Element):
        raise TypeError(
            "plate must be a Tensor [H, W] of amplitude transmission, an Element or a "
            f"FourierFilter, not {type(plate).__name__}"
        )
    if spacing is not None:
        raise ValueError("an Element brings its own spacing; leave it out")
    if wavelength is None:
        wavelength = getattr(plate, "design_wavelength", None)
    else:
        check_wavelength("wavelength", wavelength)
    if plate.places is not None:
        raise ValueError(
            f"{type(plate).__name__} has a different transmission for each of {plate.places[0]} x "
            f"{plate.places[1]} places of the image, and is not a single plate; export the "
            "transmission of one place"
        )
    # Two wavelengths show whether the transmission depends on the wavelength.
    asked = [500e-9, 600e-9] if wavelength is None else [wavelength]
    held = next(iter((*plate.parameters(), *plate.buffers())), torch.empty(0))
    with torch.no_grad():
        passed = plate.transmission(torch.tensor(asked, dtype=torch.float64, device=held.device))
    if len(passed) > 1:
        raise ValueError(
            f"wavelength, in metres, is needed: the transmission of {type(plate).__name__} depends "
            "on it"
        )
    return passed[0], plate.spacing, wavelength


def _numbers(transmission: Tensor) -> dict[str, np.ndarray]:
    """Transmittance and phase ``[H, W]`` of a passive plate, as float64."""
    check_complex("plate", transmission, "[H, W]")
    if transmission.ndim != 2:
        raise ValueError(f"plate must be [H, W], one at a time, not {tuple(transmission.shape)}")
    field = transmission.detach().cpu().to(torch.complex128)
    check_finite("plate", field)
    transmittance = (field.real.square() + field.imag.square()).numpy()
    largest = float(transmittance.max()) ** 0.5
    if largest > 1 + 1e-6:  # single precision's phasors are not quite 1 long
        raise ValueError(f"a plate is passive: |t| must be at most 1, not {largest:.4g}")
    phase = np.remainder(field.angle().numpy(), _TURN)
    # Just below a whole turn the remainder is rounded to one.
    phase[(phase >= _TURN) | (transmittance == 0)] = 0
    return {"transmittance": transmittance.clip(0, 1), "phase": phase}


def _read(file: Path, quantity: str, *, table: bool) -> tuple[np.ndarray, dict[str, Any]]:
    """Read one of the two files, and the metadata in which both must agree."""
    content = file.read_bytes()
    try:
        numbers, metadata = read_table(content) if table else read_tiff(content)
        check_format(metadata, _FORMAT, _VERSION)
        if metadata.get("quantity") != quantity:
            raise ValueError(f"quantity must be {quantity}, not {metadata.get('quantity')!r}")
        if metadata.get("units") != _UNIT[quantity]:
            raise ValueError(f"units must be {_UNIT[quantity]}, not {metadata.get('units')!r}")
        check_samples(numbers, metadata, "samples")
        if not table:
            numbers = numbers.astype(np.float64) * _CODE[quantity]
        elif quantity == "transmittance" and not ((numbers >= 0) & (numbers <= 1)).all():
            raise ValueError("it has transmittances outside of 0..1")
        checked = _checked(metadata) | {"size": metadata["size"]}
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    return numbers, checked


def _checked(metadata: dict[str, Any]) -> dict[str, float | None]:
    """Pitch and wavelength, micrometres."""
    pitch = metadata_number(metadata, "pitch_um", unit="micrometres", positive=True)
    if metadata.get("wavelength_um") is None:
        return {"pitch_um": pitch, "wavelength_um": None}
    wavelength = metadata_number(metadata, "wavelength_um", unit="micrometres", positive=True)
    return {"pitch_um": pitch, "wavelength_um": wavelength}
