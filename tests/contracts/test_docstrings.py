"""Every public callable says what goes in, what comes out, in which shape and unit, and what fails.

What a docstring must say follows from the code beside it, read as a syntax tree:

- each parameter by name, in ``Parameters`` or ``Attributes``, in the docstring of a field, or as
  ````name```` in the summary of something small; an override may leave it to the public base;
- a shape for each tensor, an argument or a result (``[B, C, H, W]``, "scalar", "any shape");
- a unit for each physical quantity (``UNITS``);
- ``Returns``, where there is a ``Parameters`` and what returns is no documented class of ours;
- each exception that it raises, itself or in what it calls directly of its own package.
"""

import ast
import builtins
import importlib
import inspect
import re

import pytest
import surface


def _words(text):
    return text.split()


# The unit that goes with a name, as its documentation may spell it. Lengths may be in pixels.
_METRES, _SECONDS, _ELECTRONS, _RADIANS = (
    r"\bmetres?\b|\bm\b|\bnm\b|pixels?\b",
    r"\bseconds?\b|\bs\b",
    r"\belectrons?\b|e-",
    r"\bradians?\b|\brad\b|waves?\b|degrees?\b",
)
UNITS = {
    **dict.fromkeys(
        _words(
            "wavelength wavelengths design_wavelength distance distances spacing pupil_spacing "
            "diameter focal_length pixel_pitch pitch height max_height minimum_feature focus "
            "thickness"
        ),
        _METRES,
    ),
    "exposure_time": _SECONDS,
    **dict.fromkeys(_words("read_noise full_well dark_current dsnu black_level electrons"),
                    _ELECTRONS + r"|codes?\b|\bDN\b"),
    "photons": r"\bphotons?\b",
    "opd": _METRES,
    "coefficients": _METRES + r"|waves\b",
    **dict.fromkeys(_words("phase angle tilt tilts"), _RADIANS),
}  # fmt: skip
# Not lengths: distances between distributions, the height of a picture.
_NO_UNIT = {
    "joint.analysis.ConfusionContrast distance",
    "joint.analysis.PairContrast distance",
    "joint.analysis.confusion_against_contrast distance",
    "joint.analysis.equal_contrast distance",
    "joint.CompressedFile height",
}

# Fields of results and settings that mean the same everywhere and are explained here, once.
PLAIN = {
    "kind": "which member of a union of settings this is",
    "name": "of what the record is about",
    "classes": "names of the classes, in the order of the labels",
    "level": "coverage of the intervals",
    "resamples": "bootstrap resamples behind the intervals",
    "unit": "what was resampled: lesions or pictures",
    "interval": "of the value that the record is about, at its level",
    "pictures": "how many were looked at",
    "measure": "name of the contrast measure",
    "metric": "name of what is compared",
    "reason": "why there is no value",
    "seed": "of the random draws",
    "path": "of the file or folder",
    "state": "how far a run has come",
    "first": "of the two that are compared",
    "second": "of the two that are compared",
    "stage": "name of a stage of the system",
    "plane": "name of a plane of the system",
    "perturbation": "name of a perturbation",
    "region": "lesion, boundary or background",
    "regions": "one record for each region",
    "rows": "one record for each row that is printed",
    "scores": "accuracies with their intervals",
    "median": "of the values",
    "mean": "of the values",
    "design": "number of a design of a study",
    "designs": "one record for each design",
    "levels": "what a design chooses on each axis",
    "axis": "name of an axis of a study",
    "axes": "names of axes of a study, or one record for each",
    "pairs": "one record for each pair",
    "seeds": "how many seeds there are",
    "number": "of a design, as in the ledger",
    "costs": "what a run asks for, by name",
    "tally": "how many runs are in which state",
    "notes": "what a reader has to know",
    "family": "name of a group of designs",
    "families": "one record for each group of designs",
    "anchor": "what the others are compared with",
}

_SHAPE = re.compile(
    r"\[[^\]]*\]|\bscalars?\b|\bshapes?\b|:(func|class|meth):|\bbroadcast|\bone number\b"
)
_ENDINGS = ("Error", "Damaged", "Diverged", "Locked", "Lost", "Fault", "Stream", "Refused")
_SECTION = re.compile(r"^(\w[\w ]*)\n-{3,}$", re.MULTILINE)


def _sections(doc):
    parts = _SECTION.split(inspect.cleandoc(doc or ""))
    return parts[0], dict(zip(parts[1::2], parts[2::2], strict=True))


def _entries(section):
    """The text of each entry of a section by name; ``a, b : Tensor`` stands for both."""
    found, current = {}, []
    for line in section.splitlines():
        if line and not line[0].isspace():
            current = [name.strip().lstrip("*") for name in line.split(" : ")[0].split(",")]
            found.update(dict.fromkeys(current, line))
        else:
            found.update({name: f"{found[name]} {line.strip()}" for name in current})
    return found


def _documented(doc):
    _, sections = _sections(doc)
    return _entries(sections.get("Attributes", "")) | _entries(sections.get("Parameters", ""))


def _arguments(node):
    given = node.args
    stars = [star for star in (given.vararg, given.kwarg) if star is not None]
    every = [*given.posonlyargs, *given.args, *given.kwonlyargs, *stars]
    return [argument for argument in every if argument.arg not in ("self", "cls")]


def _annotation(node):
    return "" if node is None else ast.unparse(node)


def _takes_tensors(annotation):
    return re.search(r"\bTensor\b", annotation) and "Callable" not in annotation


def _is_public(module, name):
    return name in importlib.import_module(module.split(".")[0]).__all__


def _raised(node, module, owner, depth=1):
    """What a function raises, itself or in the private helpers that it calls, and lets out."""
    if isinstance(node, ast.Try):
        inside = set().union(*(_raised(each, module, owner, depth) for each in node.body))
        caught = {name for handler in node.handlers for name in _names(handler.type)}
        rest = (*node.handlers, *node.orelse, *node.finalbody)
        return {e for e in inside if not _catches(caught, e)}.union(
            *(_raised(each, module, owner, depth) for each in rest)
        )
    found = set()
    if isinstance(node, ast.Raise) and node.exc is not None:
        call = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        name = ast.unparse(call).split(".")[-1]
        if name.endswith(_ENDINGS) and name not in ("NotImplementedError", "AssertionError"):
            found.add(name)
    elif isinstance(node, ast.Call) and depth:
        for helper in _helpers(node.func, module, owner):
            found |= _raised(helper, module, owner, depth - 1)
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.Name | ast.Constant | ast.expr_context):
            found |= _raised(child, module, owner, depth)
    return found


def _names(type_):
    return set() if type_ is None else set(re.findall(r"\w+", ast.unparse(type_)))


def _catches(names, error):
    """Whether one of the exceptions named is ``error`` or a base of it, as far as builtins go."""
    made = getattr(builtins, error, None)
    bases = {base.__name__ for base in made.__mro__} if made else {error, "Exception"}
    return bool(names & bases)


def _helpers(target, module, owner):
    """Definitions of the private helper that is called: a function, or a method of the class."""
    if isinstance(target, ast.Name) and target.id.startswith(("_", "check_")):
        value = getattr(importlib.import_module(module), target.id, None)
        if inspect.isfunction(value) and surface.ours(value) and not _is_public(module, target.id):
            yield surface.source(value)
    elif isinstance(target, ast.Attribute) and target.attr.startswith("_") and owner:
        own = isinstance(target.value, ast.Name) and target.value.id == "self"
        for base in surface.lineage(owner) if own else ():
            yield from (
                method
                for method in surface.source(base).body
                if isinstance(method, surface.Function) and method.name == target.attr
            )


def _inherited(public):
    """Docstrings of the same method in the public bases."""
    if public.owner is None:
        return []
    bases = [base for base in surface.lineage(public.owner)[1:] if base in surface.public_classes()]
    found = (vars(base).get(public.node.name) for base in bases)
    return [inspect.getdoc(method) or "" for method in found if method is not None]


def _record(annotation):
    """Whether an annotation is one class of ours that is public, and says itself what it holds."""
    names = {owner.__name__ for owner in surface.public_classes()}
    return set(re.findall(r"\w+", annotation)) - {"None", "Self"} <= names


def _has_unit(label, name, entry):
    if name not in UNITS or f"{label} {name}" in _NO_UNIT:
        return True
    return bool(re.search(UNITS[name] + r"|:(func|class):", entry, re.IGNORECASE))


def _faults_of_arguments(label, node, summary, documented):
    for argument in _arguments(node):
        name, annotation = argument.arg, _annotation(argument.annotation)
        entry = documented.get(name)
        if entry is None and re.search(rf"``{name}\b[^`]*``", summary):
            entry = summary
        if entry is None:
            yield f"does not say what {name} is"
        elif _takes_tensors(annotation) and not _SHAPE.search(entry):
            yield f"gives no shape of {name}"
        elif not _has_unit(label, name, entry):
            yield f"gives no unit of {name}"


def _faults_of_function(public):
    docs = [public.doc, *_inherited(public)]
    summary = "\n".join(_sections(doc)[0] for doc in docs)
    sections = {}
    for doc in reversed(docs):
        sections |= _sections(doc)[1]
    documented = {}
    for doc in reversed(docs):
        documented |= _documented(doc)
    if not public.doc:
        yield "has no docstring"
    yield from _faults_of_arguments(public.label, public.node, summary, documented)
    returned = _annotation(public.node.returns)
    told = sections.get("Returns", "") + sections.get("Yields", "")
    if returned not in ("", "None", "NoReturn"):
        if "Parameters" in sections and not told and not _record(returned):
            yield "has no Returns"
        if _takes_tensors(returned) and not _SHAPE.search(told or summary):
            yield "gives no shape of what it returns"
    for error in sorted(_raised(public.node, public.module, public.owner)):
        if error not in sections.get("Raises", "") and error not in summary:
            yield f"does not say that it raises {error}"


def _faults_of_class(label, owner):
    docs = [vars(base).get("__doc__") or "" for base in surface.lineage(owner)]
    summary = "\n".join(_sections(doc)[0] for doc in docs)
    documented = {}
    for doc in reversed(docs):
        documented |= _documented(doc)
    made = surface.constructor(owner)
    if made is not None:
        yield from _faults_of_arguments(label, made, summary, documented)
        for error in sorted(_raised(made, owner.__module__, owner)):
            if not any(error in doc for doc in docs):
                yield f"does not say that it raises {error}"
        return
    for name, (_, doc) in surface.fields(owner).items():
        entry = doc or documented.get(name) or (
            summary if re.search(rf"``{name}\b[^`]*``", summary) else ""
        )  # fmt: skip
        if not entry and name not in PLAIN:
            yield f"does not say what {name} is"
        elif not _has_unit(label, name, entry):
            yield f"gives no unit of {name}"


def _classes():
    found = {}
    for room in surface.ROOMS:
        for name, value in surface.names(room).items():
            if inspect.isclass(value) and surface.ours(value):
                found.setdefault(value, f"{room}.{name}")
    return found


@pytest.mark.parametrize("room", surface.ROOMS)
def test_every_public_function_says_what_it_takes_gives_and_refuses(room):
    faults = [
        f"{public.label} {fault}"
        for public in surface.callables()
        if public.label.startswith(f"{room}.") and public.label.count(".") >= room.count(".") + 1
        if public.node.name != "extra_repr"
        for fault in _faults_of_function(public)
    ]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("room", surface.ROOMS)
def test_every_public_class_says_what_it_is_made_of(room):
    faults = [
        f"{label} {fault}"
        for owner, label in _classes().items()
        if label.rpartition(".")[0] == room
        for fault in _faults_of_class(label, owner)
    ]
    assert not faults, "\n".join(faults)


# Functions of the optics room whose body computes a formula of physics or of a paper, and those
# that compute none: arithmetic, bounds, grids, compositions of the former. A new one has to be put
# into one of the two.
FORMULAS = set(
    _words(
        "CubicMask Sensor abbe_number amplitude_spread angular_spectrum audit_sampling "
        "band_irradiance blackbody colour_correction colour_matching daylight noise_amplification "
        "observer_colours first_order glass_index lens_image lens_wavefronts seidel_sums "
        "surface_sag trace "
        "coded_aperture coherent_blur coherent_image dark_field defocus_path demosaic "
        "dft_matrix distort encircled_energy exposure_photons fraunhofer fresnel height_phase "
        "image_irradiance incoherent_image kernel_start knife_edge led_tilts lens_performance "
        "import_zernikes lens_phase "
        "linear_to_srgb low_rank_psf motion_psf mura_decoder noll_to_nm otf otf_along "
        "luminous_efficiency measure_dark_current measure_sensor photon_transfer "
        "otf_from_pupil "
        "partially_coherent_image phase_contrast phase_object pixel_mtf psf_from_lsf psf_from_mtf "
        "psf_from_pupil quantize_height "
        "refractive_index relative_illumination score_surrogate seidel_coefficients shot_noise "
        "shutter_code "
        "slanted_edge_mtf spiral srgb_to_linear strehl through_focus vignetting_shift "
        "wiener zernike"
    )
)
WITHOUT_FORMULA = set(
    _words(
        "annular_aperture annular_source ansi_to_noll audit_gradients bin_pixels bounded "
        "bounded_inverse "
        "camera_colours "
        "cfa_indices circular_aperture clip convolve coordinates digitise disc_source "
        "distortion_fit energy_limited energy_limited_inverse export_height_map export_plate "
        "fast_size field_coefficients filter_start frequencies fringe_to_noll gaussian_pass "
        "compound_imaging import_height_map import_prescription import_psf lens_penalty lens_spots "
        "misalign set_stop "
        "interpolate_spectrum "
        "import_plate layered_blur light_budget light_budget_inverse matrix_dft measured_psf "
        "mix_colours mosaic mtf nm_to_noll noll_to_ansi pack_mosaic poisson_log_likelihood "
        "positive positive_inverse rectangular_aperture relief_element relief_report scene_field "
        "signed_difference spider symmetric unit_disk unit_disk_inverse unpack_mosaic varying_blur "
        "zernike_basis zernike_filter"
    )
)
_SOURCE = re.compile(
    r"\b(18|19|20)\d\d\b|Goodman|Mahajan|Born (and|&) Wolf|DLMF|\b(IEC|ISO|EMVA|ITU)\b"
)


def test_every_formula_of_the_optics_room_names_its_source():
    public = surface.names("optics")
    functions = {name for name, value in public.items() if inspect.isfunction(value)}
    assert functions - FORMULAS - WITHOUT_FORMULA == set(), "put them into one of the two lists"
    assert not FORMULAS & WITHOUT_FORMULA
    assert public.keys() >= FORMULAS | WITHOUT_FORMULA
    without = [name for name in sorted(FORMULAS) if not _SOURCE.search(public[name].__doc__ or "")]
    assert not without, f"no source is named by {', '.join(without)}"


_COMPLETE = '''
def blur(image: Tensor, *, distance: float) -> Tensor:
    """Blur.

    Parameters
    ----------
    image : Tensor ``[B, C, H, W]``
    distance : float, metres

    Returns
    -------
    Tensor ``[B, C, H, W]``

    Raises
    ------
    ValueError
        For a distance of 0.
    """
    if distance == 0:
        raise ValueError("no distance")
    return image
'''


def _faults(text):
    node = ast.parse(text).body[0]
    doc = ast.get_docstring(node) or ""
    return list(_faults_of_function(surface.Public("optics.blur", node, "optics", doc)))


@pytest.mark.parametrize(
    ("taken", "fault"),
    [
        ("", None),
        ("    image : Tensor ``[B, C, H, W]``\n", "does not say what image is"),
        (" ``[B, C, H, W]``\n    distance", "gives no shape of image"),
        (", metres", "gives no unit of distance"),
        ("\n    Returns\n    -------\n    Tensor ``[B, C, H, W]``\n", "has no Returns"),
        (
            "    ValueError\n        For a distance of 0.\n",
            "does not say that it raises ValueError",
        ),
    ],
)
def test_the_check_sees_what_is_missing(taken, fault):
    assert taken in _COMPLETE
    put_back = "\n    distance" if "distance" in taken and taken.startswith(" ``") else ""
    faults = _faults(_COMPLETE.replace(taken, put_back, 1))
    assert (faults == []) if fault is None else (fault in faults)


def test_what_is_caught_is_not_raised():
    text = _COMPLETE.replace("    if distance == 0:\n        raise", "    try:\n        raise")
    text = text.replace(
        "    return image", "    except ValueError:\n        pass\n    return image"
    )
    assert _raised(ast.parse(text), "optics", None) == set()
    assert _raised(ast.parse(_COMPLETE), "optics", None) == {"ValueError"}
