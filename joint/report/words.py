"""Description of a configuration in words, with units.

Each part has its own wording for the usual settings. Every other setting that differs from its
default follows by name and value, so that two different parts never read the same. Numbers are
rounded for reading, and a path is shortened to its last two names.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

import optics
from classify.data.decode import Decoder
from joint.config.classifier import ClassifierConfig
from joint.config.compound import CompoundConfig, SurfaceConfig
from joint.config.custom import CustomConfig
from joint.config.front_ends import FourierConfig, FrontEndConfig, KernelConfig, LensConfig
from joint.config.psf import PSFConfig
from joint.config.run import RunConfig, SplitConfig
from joint.config.scenes import ClassFolders, DataConfig, ImageTableConfig, PhantomConfig
from joint.config.sensor import SensorConfig
from joint.config.shutter import ShutterConfig
from joint.objective import Objective
from joint.settings import NoneConfig, Settings
from joint.train.training import Training
from optics.imaging.shutter import open_slots

__all__ = ["configuration_words"]

_S = TypeVar("_S", bound=Settings)
# Longer tuples of numbers are described by their count and their two ends.
_FEW = 8
# What a compound lens keeps apart, where it is not as by default.
_LEAST = {
    "centre": "glass on the axis",
    "edge": "glass at the rim",
    "air": "air before glass or the sensor",
}
# Parent folders of home directories: the name of a user is not shown on the page.
_OF_PEOPLE = ("/home", "/Users")


def configuration_words(config: RunConfig) -> Iterator[tuple[str, str]]:
    """Name and description of each part of a run, in the order in which light passes them."""
    system = config.system
    light = {"srgb": "", "linear": ", taken as linear light"}[system.encoding]
    yield "scenes", _whole(config.data, _scenes) + light
    yield "split", _whole(config.split, _split)
    yield "front end", _front_end(system.front_end)
    yield "sensor", _whole(system.sensor, _sensor)
    if not isinstance(system.restoration, NoneConfig):
        yield "restoration", _whole(system.restoration, partial(_settings, absent=""))
    absent = "none: the classifier sees the measurement"
    yield "codec", _whole(system.codec, partial(_settings, absent=absent))
    yield "classifier", _whole(system.classifier, _classifier)
    yield "objective", _whole(config.objective, _objective)
    if config.teacher is not None:
        yield "teacher", _path(config.teacher)
    training = config.training.model_copy(update={"seed": 0})  # it has a row of its own
    yield "training", _whole(training, partial(_training, objective=config.objective))
    yield "seeds", f"initial weights {system.seed}, training {config.training.seed}"


def _whole(settings: _S, words: Callable[[_S], str]) -> str:
    """The words of settings, followed by each changed setting that the words do not mention.

    The words mention a setting if they change when it is set back to its default.
    """
    told = words(settings)
    rest = (shown for shown, plain in _changed(settings) if words(plain) == told)
    return ", ".join((told, *rest))


def _changed(settings: _S) -> Iterator[tuple[str, _S]]:
    """Each setting that differs from its default, as text, and the settings with the default."""
    for name, field in type(settings).model_fields.items():
        value, label = getattr(settings, name), name.replace("_", " ")
        if field.is_required():
            continue
        if isinstance(value, Settings):
            for shown, plain in _changed(value):
                yield f"{label} {shown}", settings.model_copy(update={name: plain})
        default = field.get_default(call_default_factory=True)
        if type(value) is type(default) and isinstance(value, Settings):
            continue  # its fields were yielded above
        if value != default:
            yield _shown(label, value), settings.model_copy(update={name: default})


def _shown(label: str, value: object) -> str:
    """A setting as text, as it follows the words of its part."""
    if isinstance(value, bool):
        return label if value else f"no {label}"
    return f"{label} {_value(value)}"


def _value(value: object) -> str:
    match value:
        case None:
            return "none"
        case float():
            return f"{value:g}"
        case Path():
            return _path(value)
        case Mapping():
            return " and ".join(f"{name} {_value(each)}" for name, each in value.items())
        case tuple() if len(value) > _FEW:
            return f"{len(value)} values from {_value(value[0])} to {_value(value[-1])}"
        case tuple():
            return " / ".join(map(_value, value)) or "none"
    return str(value)


def _path(path: Path) -> str:
    """The last two names of a path, as file names are often alike; without a user's home folder."""
    folder = path.parent
    own = folder == Path.home() or folder.parent.as_posix() in _OF_PEOPLE
    return path.name if own else Path(*path.parts[-2:]).as_posix()


def _scenes(data: DataConfig) -> str:
    if isinstance(data, PhantomConfig):
        return (
            f"{data.count} procedural lesions of {data.image_size} × {data.image_size} pixels, "
            f"difficulty {data.difficulty:g}, contrast {data.contrast:g}, seed {data.seed}"
        )
    files = isinstance(data, ClassFolders | ImageTableConfig)
    # The white level is shown for 16-bit codes only where it is not their largest code.
    plain = files and data.bit_depth != 16 and data.white_level == Decoder.white_level
    return _settings(data, "", without=("white_level",) if plain else ())


def _split(split: SplitConfig) -> str:
    if split.column is not None:
        return f"by the column {split.column} of the data"
    whole = "all pictures of a lesion in one part" if split.by == "lesion" else "picture by picture"
    if split.folds is not None:
        return f"fold {split.fold} of {split.folds} (from 0) is the test part, {whole}"
    train, validation, test = (f"{100 * share:g} %" for share in split.fractions)
    return f"{train} training, {validation} validation, {test} test, {whole}, seed {split.seed}"


def _front_end(front_end: FrontEndConfig) -> str:
    return _whole(front_end, _camera)


def _camera(front_end: FrontEndConfig) -> str:
    match front_end:
        case KernelConfig():
            exposures = (
                "two exposures of each filter, subtracted" if front_end.signed else "one exposure"
            )
            mixed = ", channels mixed" if front_end.mix_channels else ""
            return (
                f"learned kernel of {front_end.kernel_size} × {front_end.kernel_size} pixels, "
                f"{exposures}{mixed}; training began from {front_end.start}"
            )
        case FourierConfig():
            depth = front_end.phase_depth
            of = "" if depth is None else f" through objects of {depth:g} radians at 1"
            return (
                f"learned transmission in the Fourier plane of a 4f system, "
                f"{front_end.illumination} light{of}; training began from {front_end.start}"
            )
        case LensConfig():
            return ", ".join(_lens(front_end))
        case PSFConfig():
            return ", ".join(_psf(front_end))
        case CompoundConfig():
            return ", ".join(_compound(front_end))
        case ShutterConfig():
            behind = isinstance(front_end.lens, LensConfig | PSFConfig | CompoundConfig)
            lens = f"; behind it: {_front_end(front_end.lens)}" if behind else ""
            return _shutter(front_end) + lens
        case CustomConfig():
            return _settings(front_end, "")
        case NoneConfig():
            return "none: the sensor sees the scene"


def _lens(lens: LensConfig) -> Iterator[str]:
    yield f"lens of {1e3 * lens.focal_length:g} mm at f/{lens.f_number:g}"
    if lens.obscuration:
        yield f"a central obscuration of {100 * lens.obscuration:g} % of its diameter"
    yield f"pixels of {1e6 * lens.pixel_pitch:g} µm"
    if lens.element == "none":
        yield "no element in the pupil"
    else:
        yield (
            f"{lens.element} element in the pupil (strength {lens.strength:g} waves before "
            "training)"
        )
    yield f"{lens.defocus:g} waves of defocus at the rim"
    terms = {
        "astigmatism (Noll 6)": lens.astigmatism,
        "coma (Noll 8)": lens.coma,
        "spherical aberration (Noll 11)": lens.spherical,
    }
    terms |= {f"Zernike's polynomial (Noll {j})": waves for j, waves in lens.zernike.items()}
    for name, waves in terms.items():
        if waves != 0:
            yield f"{waves:g} waves RMS of {name}"
    off_axis = lens.off_axis
    seidel = {
        "coma (W131)": off_axis.coma,
        "astigmatism (W222)": off_axis.astigmatism,
        "field curvature (W220)": off_axis.field_curvature,
    }
    for name, waves in seidel.items():
        if waves != 0:
            yield f"{waves:g} waves of {name} at the rim, in the corners"
    if off_axis.vignetting:
        yield f"vignetting of {100 * off_axis.vignetting:g} % of the pupil in the corners"
    if off_axis.table:
        noll = ", ".join(str(index) for index in off_axis.indices)
        yield f"a wavefront (Noll {noll}) tabulated at {len(off_axis.heights)} heights"
    if lens.focus is not None:
        yield f"focused on {_away(lens.focus)}"
    if lens.working_distances:
        metres = ", ".join(f"{distance:g}" for distance in lens.working_distances)
        yield f"scenes at one of {metres} m"
    if lens.distortion:
        yield f"distortion of {100 * lens.distortion:+g} % in the corners"
    if lens.lateral_colour:
        yield f"{100 * lens.lateral_colour:+g} % of lateral colour"
    if lens.axial_colour:
        yield f"{100 * lens.axial_colour:+g} % of axial colour"
    if lens.singlet is not None:
        yield f"a singlet of {lens.singlet}"
    if lens.half_field:
        yield f"corners {lens.half_field:g} radians off the axis"
    if lens.spectral_response:
        bands = ", ".join(f"{1e9 * wavelength:.4g}" for wavelength in lens.wavelengths or ())
        yield f"each channel sees several wavelengths, of {bands} nm"
    if lens.colour.filters != "none":
        yield f"{lens.colour.filters} colour filters of {lens.colour.channels} channels"
    if lens.colour.lamps != "white":
        yield f"{lens.colour.lamps} light of a lamp for each band, {lens.colour.patterns} exposures"
    yield from _restored(lens.restoration)


def _psf(camera: PSFConfig) -> Iterator[str]:
    source = "a point" if camera.file is None else _path(camera.file)
    if camera.content == "picture" and camera.file is not None:
        source = f"the picture {source} of a point source"
    yield f"{'learned PSF, which began from' if camera.trained else 'fixed PSF of'} {source}"
    yield f"window {camera.psf_size} × {camera.psf_size} pixels"
    if camera.throughput is not None:
        own = camera.throughput
        shares = " / ".join(f"{each:g}" for each in (own if isinstance(own, tuple) else [own]))
        yield f"throughput {shares}"
    if camera.spacing is not None and camera.pixel_pitch is not None:
        yield (
            f"samples of {1e6 * camera.spacing:g} µm on pixels of {1e6 * camera.pixel_pitch:g} µm"
        )
    yield from _restored(camera.restoration)


def _compound(lens: CompoundConfig) -> Iterator[str]:
    surfaces = "; ".join(map(_surface, lens.surfaces))
    yield f"traced lens of {len(lens.surfaces)} surfaces (radius and thickness in mm: {surfaces})"
    if lens.f_number is not None:
        yield f"opened to f/{lens.f_number:g}"
    yield f"pixels of {1e6 * lens.pixel_pitch:g} µm"
    yield f"{' and '.join(lens.trained)} trained" if lens.trained else "not trained"
    if lens.focus is not None:
        yield f"focused on {_away(lens.focus)}"
    if math.isfinite(lens.object_distance):
        yield f"scenes {lens.object_distance:g} m in front of it"
    for name, what in _LEAST.items():
        if (least := getattr(lens, name)) != CompoundConfig.model_fields[name].default:
            yield f"{what} of at least {1e3 * least:g} mm"


def _away(metres: float) -> str:
    """A distance of a scene."""
    return "infinity" if math.isinf(metres) else f"{metres:g} m"


def _surface(surface: SurfaceConfig) -> str:
    """Radius, thickness, glass and stop."""
    radius = "plane" if surface.curvature == 0 else f"{1e3 / surface.curvature:.4g}"
    own = surface.material
    glass = [] if own is None else ["/".join(map(str, own)) if isinstance(own, tuple) else str(own)]
    return " ".join([radius, f"{1e3 * surface.thickness:.4g}", *glass, *["stop"] * surface.stop])


def _shutter(shutter: ShutterConfig) -> str:
    slots = len(optics.shutter_code("fluttered")) if shutter.start == "fluttered" else shutter.slots
    share = ""
    if shutter.share is not None:  # of which the nearest number of slots is open
        realised = open_slots(shutter.start, slots, shutter.share) / slots
        share = f" for {realised:.3g} of the exposure"
    began = f"{shutter.start}{share}"
    code = f"learned code, which began {began}" if shutter.trained else began
    return (
        f"shutter of {slots} slots, {code}; scenes move by {shutter.motion:g} pixels RMS along x "
        "and y during the exposure"
    )


def _restored(restoration: float | None) -> Iterator[str]:
    if restoration is not None:
        yield f"deblurred after the sensor (noise to signal {restoration:g} before training)"


_MOSAICS: dict[optics.Demosaicing, str] = {
    "bilinear": "bilinear demosaicing",
    "malvar": "malvar demosaicing",
    "packed": "not demosaiced: its phases are channels at half the height and width",
    "none": "not demosaiced: one channel",
}


def _sensor(sensor: SensorConfig | NoneConfig) -> str:
    if isinstance(sensor, NoneConfig):
        return "none: the scene is read without noise or rounding"
    depth = "not rounded" if sensor.bit_depth is None else f"{sensor.bit_depth} bits"
    own = sensor.quantum_efficiency
    efficiency = " / ".join(f"{each:g}" for each in (own if isinstance(own, tuple) else [own]))
    light = f"{sensor.photons:,g} photons/pixel at full scale"
    if sensor.photon_range is not None:
        low, high = sensor.photon_range
        light = (
            f"{low:,g} to {high:,g} photons/pixel at full scale, drawn for each picture, with a "
            f"gain chosen for {sensor.photons:,g}"
        )
    words = [
        light,
        f"quantum efficiency {efficiency}{', white balanced' if sensor.white_balance else ''}",
        f"read noise {sensor.read_noise:g} electrons RMS",
        depth,
        f"{sensor.shot_noise} shot noise" if sensor.shot_noise != "none" else "no shot noise",
    ]
    if sensor.trainable_gain:
        before = "" if sensor.gain is None else f" ({sensor.gain:g} electrons/DN before training)"
        words.append(f"learned gain{before}")
    elif sensor.gain is not None:
        words.append(f"gain {sensor.gain:g} electrons/DN")
    if sensor.colour_matrix:
        told = " ".join(f"{each:g}" for each in sensor.colour_matrix)
        learned = f"learned colour matrix ({told} before training)"
        words.append(learned if sensor.trainable_colour_matrix else f"colour matrix {told}")
    if not sensor.automatic_gain:
        words.append("a gain that does not follow the light")
    if sensor.black_level:
        words.append(f"black level {sensor.black_level:g} DN")
    if sensor.full_well is not None:
        words.append(f"full well {sensor.full_well:,g} electrons")
    if sensor.dark_current:
        words.append(
            f"dark current {sensor.dark_current:g} electrons/s over {sensor.exposure_time:g} s"
        )
    if sensor.prnu:
        words.append(f"PRNU {100 * sensor.prnu:g} % RMS")
    if sensor.dsnu:
        words.append(f"DSNU {sensor.dsnu:g} electrons RMS")
    if sensor.binning > 1:
        words.append(f"binning {sensor.binning} × {sensor.binning} pixels")
    if sensor.cfa is not None:
        words.append(f"{sensor.cfa} mosaic, {_MOSAICS[sensor.demosaicing]}")
    return ", ".join(words)


def _classifier(classifier: ClassifierConfig | CustomConfig | NoneConfig) -> str:
    if not isinstance(classifier, ClassifierConfig):
        return _settings(classifier, "none: the system ends with a picture")
    words = [classifier.name, f"{classifier.head} head"]
    if classifier.dropout:
        words.append(f"dropout {classifier.dropout:g}")
    file = classifier.weights
    words.append("from random weights" if file is None else f"from the weights in {_path(file)}")
    return ", ".join(words)


def _objective(objective: Objective) -> str:
    target = objective.rate_target
    aim = "" if target is None else f"; initial weight, for a target of {target:g}"
    terms = [
        (objective.task, "cross-entropy (nats)"),
        (objective.rate, f"rate (bits/pixel{aim})"),
        (objective.distortion, f"distortion ({objective.distortion_kind})"),
        (objective.restoration, f"restoration ({objective.distortion_kind})"),
        (objective.distillation, "divergence from the teacher (nats)"),
        (objective.penalty, "penalty of the front end"),
    ]
    shown = [f"{weight:g} × {name}" for weight, name in terms if weight]
    for name, term in objective.terms.items():
        function = ", ".join((term.function, *(f"{k}={v}" for k, v in term.args.items())))
        shown.append(f"{term.weight:g} × {name} ({function})")
    words = [" + ".join(shown) or "nothing"]
    for name in (
        "label_smoothing", "class_weight_power", "effective_number", "logit_adjustment",
        "focal_gamma", "margin",
    ):  # fmt: skip
        value = getattr(objective, name)
        if value:
            words.append(f"{name.replace('_', ' ')} {value:g}")
    return ", ".join(words)


def _training(training: Training, objective: Objective) -> str:
    named = isinstance(training.augmentation, str)
    views = f"{training.augmentation} views" if named else "views of custom settings"
    tested = f"best epoch by {training.monitor.replace('_', ' ')}"
    tested += "" if objective.rate_target is None else " among those near the rate target"
    return (
        f"{training.plan} plan, up to {training.epochs} epochs, {training.batch_size} pictures a "
        f"step, {training.optimizer} at {training.learning_rate:g} ({training.schedule}), {views}, "
        f"{tested if training.restore_best else 'last epoch'}"
    )


def _settings(settings: Settings, absent: str, *, without: Collection[str] = ()) -> str:
    """Kind and settings as they are, except ``without``; a path by its last names."""
    if isinstance(settings, NoneConfig):
        return absent
    if isinstance(settings, CustomConfig):
        given = ", ".join(f"{name}={value}" for name, value in settings.init_args.items())
        return f"{settings.class_path}({given})"
    values = dict(settings)
    words = [str(values.pop("kind"))]
    for name, value in values.items():
        if value is not None and name not in without:
            shown = _path(value) if isinstance(value, Path) else value
            words.append(f"{name.replace('_', ' ')} {shown}")
    return ", ".join(words)
