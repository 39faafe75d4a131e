"""The prescription of a lens as Zemax OpticStudio saves it, ``.zmx``: surfaces, light and fields.

::

    lens.zmx ──import_prescription──► surfaces, wavelengths, fields ──► CompoundLens
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, NoReturn

from optics.material import MATERIALS

from .paraxial import first_order, set_stop
from .surface import Glass, Surface, as_surfaces

__all__ = ["Prescription", "import_prescription"]

_UNITS: Mapping[str, float] = {"MM": 1e-3, "CM": 1e-2, "IN": 25.4e-3, "METER": 1.0}
_MICROMETRE = 1e-6
# What OpticStudio writes of a glass of a catalogue whose numbers it leaves to the catalogue.
_NO_NUMBERS = (1.5, 40.0)
# Rims that OpticStudio made as large as its rays are wider here, as these are not quite the same.
_WIDER = 1.01
_SHAPES = ("STANDARD", "EVENASPH")
# Lines that say where light is cut off, in a shape that a rim has not.
_REFUSED = {
    "SQAP": "a rectangular aperture",
    "SQOB": "a rectangular obscuration",
    "ELAP": "an elliptical aperture",
    "ELOB": "an elliptical obscuration",
    "OBSC": "an obscuration",
}
_ANGLE, _HEIGHT, _PARAXIAL = 0, 1, 2


class Prescription(NamedTuple):
    """A lens, and with what light it was designed."""

    name: str
    """As the file has it; may be empty."""
    surfaces: tuple[Surface, ...]
    """From behind the object to before the image; one is the stop."""
    wavelengths: tuple[float, ...]
    """Metres, in the order of the file."""
    primary: int
    """Number of the primary wavelength, from 0."""
    fields: tuple[float, ...]
    """Angles, radians, or heights of the object, metres, from the axis."""
    object_distance: float
    """In front of the first vertex, metres, or infinite."""


def import_prescription(
    path: Path | str, *, glasses: Mapping[str, Glass] | None = None
) -> Prescription:
    """Read a sequential lens from a ``.zmx`` file of Zemax OpticStudio.

    Surfaces STANDARD and EVENASPH, with the glass by the index and the Abbe number that stand in
    its line, or by one of :data:`optics.MATERIALS` of the same name.

    Parameters
    ----------
    path : path
        Of a text file in UTF-16 or UTF-8.
    glasses : mapping of str to str, float or (float, float), optional
        Materials, as of a :class:`Surface`, of names of glasses: for those whose numbers the file
        leaves to a catalogue, and in place of those that it has.

    Returns
    -------
    Prescription
        The stop has the size that the entrance pupil or f-number of the file asks for at the
        primary wavelength, or its own; other rims are the file's semi-diameters, and those that
        OpticStudio made as large as its rays 1 % wider.

    Raises
    ------
    OSError
        When the file cannot be read.
    ValueError
        With the line, for what is not known: a surface of another kind, such as a coordinate
        break, a mirror, a glass without numbers, a term r^2 of an asphere, an object in glass, a
        telecentric object space, an afocal image space, a working f-number, an aperture beside the
        axis; when unit, wavelengths, aperture, fields or stop are missing.

    Examples
    --------
    >>> found = import_prescription("triplet.zmx", glasses={"SK16": (1.62041, 60.32)})
    >>> lens = CompoundLens(found.surfaces, wavelength=found.wavelengths[found.primary])
    """
    path = Path(path)
    content = path.read_bytes()
    wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    read = _Reader(path, dict(glasses or {}))
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if words:
            read.line(number, words)
    return read.prescription()


class _Row:
    """A surface, line by line."""

    def __init__(self) -> None:
        self.numbers: dict[str, float] = {}
        self.terms: dict[int, float] = {}
        self.glass: Glass = None
        self.kind = "STANDARD"
        self.stop = False
        self.rim, self.clear, self.wider = math.inf, math.inf, 1.0


class _Reader:
    """What the lines said so far; lengths in the file's unit."""

    def __init__(self, path: Path, glasses: dict[str, Glass]) -> None:
        self.path, self.glasses = path, glasses
        self.rows: list[_Row] = []
        self.name = ""
        self.unit: float | None = None
        self.aperture: tuple[str, float] | None = None
        self.waves: dict[int, float] = {}
        self.primary = 1
        self.kind, self.fields_used, self.waves_used = _ANGLE, 0, 0
        self.across: list[float] = []
        self.up: list[float] = []
        self.at, self.words = 0, [""]

    def line(self, number: int, words: list[str]) -> None:
        """Take one line."""
        self.at, self.words = number, words
        word = words[0]
        if word == "SURF":
            self.rows.append(_Row())
        elif word in _REFUSED:
            self.refuse(_REFUSED[word])
        elif self.rows:
            self.of_surface(word, self.rows[-1])
        else:
            self.of_lens(word)

    def of_lens(self, word: str) -> None:
        """A line before the surfaces."""
        match word:
            case "NAME":
                self.name = " ".join(self.words[1:])
            case "MODE" if self.words[1:2] != ["SEQ"]:
                self.refuse("a lens that is not sequential")
            case "UNIT":
                unit = self.words[1] if len(self.words) > 1 else ""
                if unit not in _UNITS:
                    self.refuse(f"another unit than {', '.join(_UNITS)}")
                self.unit = _UNITS[unit]
            case "ENPD" | "FNUM" | "FLOA" | "OBNA":
                if word == "OBNA":
                    self.refuse("an aperture by the numerical aperture of the object")
                if word == "FNUM" and len(self.words) > 2 and self.number(2) != 0:
                    self.refuse("another f-number than that of the image space")
                size = 0.0 if word == "FLOA" else self.number(1)
                self.aperture = (word, size)
            case "AFOC" if self.number(1) != 0:
                self.refuse("an afocal image space")
            case "FTYP":
                self.kind = int(self.number(1))
                if self.number(2) != 0:
                    self.refuse("a telecentric object space")
                self.fields_used = int(self.number(3))
                self.waves_used = int(self.number(4))
                if self.kind not in (_ANGLE, _HEIGHT, _PARAXIAL):
                    self.refuse("fields by their real image heights")
            case "XFLN" | "XFLD":
                self.across = [self.number(n) for n in range(1, len(self.words))]
            case "YFLN" | "YFLD":
                self.up = [self.number(n) for n in range(1, len(self.words))]
            case "WAVM":
                self.waves[int(self.number(1))] = self.number(2)
            case "WAVL" if not self.waves:
                lengths = range(1, len(self.words))
                self.waves = {n: self.number(n) for n in lengths}
            case "PWAV":
                self.primary = int(self.number(1))
            case _:
                pass

    def of_surface(self, word: str, row: _Row) -> None:
        """A line of a surface."""
        match word:
            case "TYPE":
                row.kind = self.words[1] if len(self.words) > 1 else ""
                if row.kind not in _SHAPES:
                    what = "a coordinate break" if row.kind == "COORDBRK" else "such a surface"
                    self.refuse(f"{what}; surfaces are {' and '.join(_SHAPES)}")
            case "CURV" | "CONI":
                row.numbers[word] = self.number(1)
            case "DISZ":
                infinite = self.words[1:2] == ["INFINITY"]
                row.numbers[word] = math.inf if infinite else self.number(1)
            case "STOP":
                row.stop = True
            case "CLAP" | "FLAP" if self.number(1) > 0:
                self.refuse("an aperture with a hole in its middle")
            case "CLAP" | "FLAP":
                row.clear = self.number(2)
            case "OBDC" if self.number(1) != 0 or self.number(2) != 0:
                self.refuse("an aperture beside the axis")
            case "DIAM":
                size, fixed = self.number(1), len(self.words) > 2 and self.number(2) == 1
                row.rim, row.wider = size or math.inf, 1.0 if fixed else _WIDER
            case "PARM":
                row.terms[int(self.number(1))] = self.number(2)
                if row.kind == "EVENASPH" and int(self.number(1)) == 1 and self.number(2) != 0:
                    self.refuse("a term r^2 of an asphere: add twice it to the curvature")
            case "GLAS":
                if len(self.rows) == 1:
                    self.refuse("an object in glass")
                row.glass = self.material()
            case _:
                pass

    def material(self) -> Glass:
        """The glass of a line."""
        name = self.words[1] if len(self.words) > 1 else ""
        if name == "MIRROR":
            self.refuse("a mirror")
        if name in self.glasses:
            return self.glasses[name]
        plain = name.lower().replace("-", "_")
        if plain in MATERIALS:
            return plain
        pair = (self.number(4), self.number(5)) if len(self.words) > 5 else (0.0, 0.0)
        modelled = name.startswith("___")
        if pair[0] <= 1 or pair[1] <= 0 or (pair == _NO_NUMBERS and not modelled):
            self.refuse(f"a glass without its n_d and V_d; give glasses={{{name!r}: (n_d, V_d)}}")
        return pair

    def number(self, place: int) -> float:
        """A number of the line, by its place."""
        try:
            value = float(self.words[place])
        except (IndexError, ValueError):
            self.refuse("without a number there")
        if not math.isfinite(value):
            self.refuse("not finite")
        return value

    def refuse(self, what: str) -> NoReturn:
        """Name the line, and what it has."""
        raise ValueError(
            f"{self.path}, line {self.at}: {' '.join(self.words)[:60]!r} is not read: {what}"
        )

    def prescription(self) -> Prescription:
        """All of it, in metres."""
        missing = [
            name
            for name, value in (
                ("UNIT", self.unit),
                ("ENPD, FNUM or FLOA, the aperture", self.aperture),
                ("WAVM or WAVL", self.waves),
                ("FTYP, fields and wavelengths in use", self.fields_used * self.waves_used),
                ("STOP", any(row.stop for row in self.rows[1:-1])),
                ("a SURF between object and image", len(self.rows) > 2),
            )
            if not value
        ]
        if missing:
            raise ValueError(f"{self.path} is no sequential lens of Zemax: it lacks {missing[0]}")
        unit = self.unit or 1.0
        # The file goes on with places for wavelengths that the lens does not use.
        used = sorted(self.waves)[: self.waves_used]
        wavelengths = tuple(self.waves[number] * _MICROMETRE for number in used)
        if not 1 <= self.primary <= len(wavelengths):
            raise ValueError(
                f"{self.path}: PWAV is {self.primary}, of {len(wavelengths)} wavelengths"
            )
        surfaces = [self.surface(row, unit) for row in self.rows[1:-1]]
        distance = self.rows[0].numbers.get("DISZ", math.inf) * unit
        primary = wavelengths[self.primary - 1]
        word, size = self.aperture or ("", 0.0)
        if word == "FNUM":
            surfaces = set_stop(surfaces, wavelength=primary, f_number=size)
        elif word == "ENPD":
            surfaces = set_stop(surfaces, wavelength=primary, entrance_diameter=size * unit)
        fields = self.fields(as_surfaces(surfaces, whole=True), primary, distance, unit)
        return Prescription(
            self.name, tuple(surfaces), wavelengths, self.primary - 1, fields, distance
        )

    def surface(self, row: _Row, unit: float) -> Surface:
        """A surface in metres."""
        aspheric: tuple[float, ...] = ()
        # A stop is what it is; of another size by ENPD and FNUM.
        wider = 1.0 if row.stop else row.wider
        if row.kind == "EVENASPH":
            highest = max((n for n, value in row.terms.items() if value != 0), default=0)
            aspheric = tuple(
                row.terms.get(n, 0.0) * unit ** (1 - 2 * n) for n in range(2, min(highest, 8) + 1)
            )
        return Surface(
            row.numbers.get("CURV", 0.0) / unit,
            row.numbers.get("DISZ", 0.0) * unit,
            row.glass,
            min(row.rim * wider, row.clear) * unit,
            row.numbers.get("CONI", 0.0),
            aspheric,
            row.stop,
        )

    def fields(
        self, surfaces: tuple[Surface, ...], primary: float, distance: float, unit: float
    ) -> tuple[float, ...]:
        """Distances of the fields from the axis, in radians or metres."""
        across, up = (
            (values + [0.0] * self.fields_used)[: self.fields_used]
            for values in (self.across, self.up)
        )
        tangents = [
            math.hypot(math.tan(math.radians(x)), math.tan(math.radians(y)))
            for x, y in zip(across, up, strict=True)
        ]
        heights = [math.hypot(x, y) * unit for x, y in zip(across, up, strict=True)]
        first = first_order(surfaces, wavelength=primary, object_distance=distance)
        if self.kind == _HEIGHT:
            if math.isinf(distance):
                raise ValueError(
                    f"{self.path}: its fields are heights of an object at infinity, which has none"
                )
            return tuple(heights)
        if math.isinf(distance):
            if self.kind == _PARAXIAL:
                tangents = [height / float(first.focal_length) for height in heights]
            return tuple(math.atan(tangent) for tangent in tangents)
        if self.kind == _PARAXIAL:
            return tuple(height / abs(float(first.magnification)) for height in heights)
        return tuple(tangent * (distance + float(first.entrance_pupil)) for tangent in tangents)
