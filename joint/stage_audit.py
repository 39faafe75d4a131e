"""Audit of a custom stage: whether it has the properties that the other stages rely on.

::

    stage, pictures ─► front end │ codec │ classifier or restoration ─► promises ─► StageAudit
                       light       files    shapes                      kept, or why not

It changes neither stage nor pictures, costs a dozen passes, and is meant for tests.
"""

import copy
import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from compress import Codec, Coded, CorruptStream
from optics import FrontEnd, Projection, Sensor, clip

from .described import described, differing
from .feed import as_seed
from .stages import Stage, check_stage

__all__ = ["Promise", "StageAudit", "audit_stage"]

# Sums of float32 in another order, relative to the largest value.
_ROUNDED = 1e-4
# Relative difference allowed between the light of a uniform scene and the throughput: borders
# reach into its middle.
_LIGHT = 0.02
# By how much a rate may be off from the files: a share of them, and bits at their ends.
_PRICE = {"bytes": (1e-3, 1.0), "rounded": (0.02, 32.0)}
# Packages whose own tests check their settings.
_TESTED = ("optics", "compress", "classify", "joint", "torch", "torchvision", "timm")
# Arguments that follow from the scenes and the other stages, which are compared by them.
_DECIDED = ("channels", "in_channels", "out_channels", "image_size", "scene_size", "classes")
# What a stage is audited as, and the remedy where that is not what it was meant to be.
_AUDITED: dict[Stage, str] = {
    "front_end": "a front end",
    "codec": "a codec",
    "classifier": "a network, such as a classifier or a restoration (a front end derives from "
    "optics.FrontEnd, a codec from compress.Codec)",
}


class Promise(NamedTuple):
    """Something that other stages rely on."""

    name: str
    """Name of the property."""
    kept: bool
    """Whether the stage has it."""
    told: str
    """The measurement, or what is wrong and the remedy."""


@dataclass(frozen=True)
class StageAudit:
    """Result of :func:`audit_stage`; ``str`` of it is a list."""

    stage: str
    """Name of the stage's class."""
    promises: tuple[Promise, ...]
    """All promises that were checked."""
    kind: Stage
    """Stage as which it was audited: front_end, codec, or classifier for any other network."""

    @property
    def broken(self) -> tuple[Promise, ...]:
        """Promises that the stage does not keep."""
        return tuple(promise for promise in self.promises if not promise.kept)

    def __str__(self) -> str:
        width = max(len(promise.name) for promise in self.promises)
        broken = f"{len(self.broken)} of {len(self.promises)} promises broken"
        lines = [f"{self.stage}, as {_AUDITED[self.kind]}: {broken}"]
        for name, kept, told in self.promises:
            lines.append(f"  {'kept' if kept else 'BROKEN':6}  {name:{width}}  {told}")
        return "\n".join(lines)


def audit_stage(stage: nn.Module, pictures: Tensor, *, seed: int = 0) -> StageAudit:
    """Check all properties of a stage that the rest of a system relies on.

    For every stage: shapes; finite values; pictures that a pass leaves as they were; the same
    result for a picture alone and in a batch; a gradient other than 0 at pictures and parameters;
    and arguments of the constructor that are held as attributes, or told by ``extra_repr``, and
    that a pass leaves as they were, because a resumed run, and a teacher, are recognised by them.

    For a front end also: no negative light; twice the irradiance for twice the light;
    ``throughput()`` equal to the share of a uniform scene's light; ``out_channels`` from
    ``combine``. For a codec also: pictures of odd size; files that decode to the reconstruction in
    any batch; a rate that agrees with the files; and a :class:`compress.CorruptStream` for cut
    files.

    Parameters
    ----------
    stage : nn.Module
        An :class:`optics.FrontEnd`, a :class:`compress.Codec`, or a classifier or restoration. It
        is audited as a copy, in evaluation mode.
    pictures : Tensor ``[B, C, H, W]`` in 0..1
        Typical inputs of the stage, at least two; linear light for a front end. They are not
        changed: each pass has a copy.
    seed : int
        Random seed of the stage's random numbers.

    Returns
    -------
    StageAudit
        A stage that raises an error breaks the promise that was checked; the audit continues.

    Raises
    ------
    TypeError
        When ``stage`` is no stage, or ``pictures`` no Tensor.
    ValueError
        For fewer than two pictures, or of another shape or dtype; for a seed that is not whole.
    """
    seed = as_seed(seed)
    if not isinstance(pictures, Tensor):
        raise TypeError(f"pictures must be a Tensor [B, C, H, W], not {type(pictures).__name__}")
    if pictures.ndim != 4 or len(pictures) < 2 or pictures.dtype != torch.float32:
        raise ValueError(
            "pictures must be at least two of float32 [B, C, H, W], not "
            f"{pictures.dtype} {list(pictures.shape)}"
        )
    if not isinstance(stage, nn.Module) or isinstance(stage, Sensor):
        raise TypeError(
            "stage must be a front end, a codec or a network, a torch.nn.Module, not "
            f"{type(stage).__name__}"
        )
    kind: Stage = "front_end" if isinstance(stage, FrontEnd) else "classifier"
    kind = "codec" if isinstance(stage, Codec) else kind
    check_stage(kind, stage)
    asked = {"front_end": _of_front_end, "codec": _of_codec, "classifier": _of_network}[kind]
    own = copy.deepcopy(stage).eval()
    promises = []
    for name, ask in (
        *asked(own, pictures.detach(), seed),
        ("settings", lambda: _settings(stage, own)),
    ):
        try:
            told = ask()
            promises.append(Promise(name, kept=True, told=told or ""))
        except _Broken as reason:
            promises.append(Promise(name, kept=False, told=str(reason)))
        except Exception as error:  # a custom stage may raise anything; the audit continues
            told = f"{type(error).__name__}: {' '.join(str(error).split())}"
            promises.append(Promise(name, kept=False, told=told))
    return StageAudit(type(stage).__name__, tuple(promises), kind)


class _Broken(Exception):
    """Reason why a promise is not kept."""


_Asked = Iterator[tuple[str, Callable[[], str | None]]]


def _of_front_end(stage: FrontEnd, pictures: Tensor, seed: int) -> _Asked:
    def imaged(scene: Tensor, own: FrontEnd = stage) -> Tensor:
        if not own.draws:
            return own(scene)
        return own(scene, generator=_sources(len(scene), seed))  # pyright: ignore[reportCallIssue]

    def made(scene: Tensor) -> Tensor:
        with torch.no_grad():
            return imaged(scene.clone())

    def shape() -> str:
        found = made(pictures)
        _expect_tensor(found, "forward")
        count, exposures = len(pictures), stage.exposures
        if found.ndim != 4 or len(found) != count or found.shape[1] % exposures:
            raise _Broken(
                f"{list(found.shape)} of scenes {list(pictures.shape)}, and not "
                f"[{count}, {exposures} * C, H, W], as its exposures are {exposures}"
            )
        return f"{list(pictures.shape)} to {list(found.shape)}"

    def light() -> str:
        found = made(pictures)
        _expect_finite(found)
        least = float(found.min())
        if least < -_ROUNDED:
            raise _Broken(
                f"an irradiance of {least:.3g}: there is no negative light. A signed response "
                "takes two exposures, and combine subtracts them"
            )
        return f"from {least:.3g} to {float(found.max()):.3g}"

    def linear() -> str | None:
        if stage.interferes or stage.draws:
            return "not checked for fields that interfere, nor for a stage that draws"
        half, whole = made(pictures / 2), made(pictures)
        _expect_equal(2 * half, whole, "twice the irradiance of half the light is not that of all")
        mixed = made((pictures + pictures.flip(0)) / 2)
        _expect_equal(mixed, (whole + whole.flip(0)) / 2, "irradiances of two scenes do not add up")

    def throughput() -> str:
        with torch.no_grad():
            value = stage.throughput()
        if not isinstance(value, Tensor) or value.numel() != 1:
            shown = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise _Broken(f"throughput() must return one number, a scalar Tensor, not {shown}")
        told = float(value.detach())
        if not 0 <= told <= 1 + _ROUNDED:
            raise _Broken(f"{told:.4g}, but nothing passive has one outside of 0..1")
        if stage.interferes or stage.draws:
            return f"{told:.4g}; not compared, because it interferes or draws"
        if any(isinstance(part, Projection) for part in stage.modules()):
            return f"{told:.4g}, without the falloff of the projection; not compared"
        height, width = pictures.shape[-2:]
        even = made(torch.ones(1, *pictures.shape[1:])).double().mean(1)[0] * stage.exposures
        rows, columns = even.shape
        inside = even[rows // 4 : rows - rows // 4, columns // 4 : columns - columns // 4]
        # A border reaches far into a small picture, and not to its middle; a pattern has no middle,
        # and what varies over the field is said of the whole of it.
        middle = even[rows // 2, columns // 2]
        shares = [float(inside.mean()), float(middle), float(even.mean())]
        if all(abs(share - told) > _LIGHT * max(told, share) for share in shares):
            raise _Broken(
                f"{told:.4g}, but {shares[0]:.4g} of the light of a uniform scene of {height} x "
                f"{width} pixels arrives: results would be reported for other light than was used"
            )
        nearest = min(shares, key=lambda share: abs(share - told))
        return f"{told:.4g}, of a uniform scene {nearest:.4g}"

    def combined() -> str:
        with torch.no_grad():
            found = stage.combine(made(pictures))
        _expect_tensor(found, "combine")
        if found.ndim != 4 or found.shape[1] != stage.out_channels:
            raise _Broken(
                f"combine returned {list(found.shape)}, but out_channels is {stage.out_channels}"
            )
        return f"{stage.out_channels} channels"

    def alone() -> None:
        if stage.draws:  # each row has its own generator
            singly = torch.cat([made(pictures[:1]), made(pictures)[1:]])
        else:
            singly = torch.cat([made(picture) for picture in pictures.split(1)])
        _expect_equal(singly, made(pictures), "a scene gives another result alone than in a batch")

    def double() -> None:
        if stage.draws:
            return
        with torch.no_grad():
            found = copy.deepcopy(stage).double()(pictures.double())
        if found.dtype != torch.float64:
            raise _Broken(f"{found.dtype} for light in float64: gradients cannot be audited")

    def untouched() -> None:
        given = pictures.clone()
        with torch.no_grad():
            imaged(given)
        _expect_untouched(given, pictures)

    yield "shape", shape
    yield "input", untouched
    yield "light", light
    yield "linear", linear
    yield "throughput", throughput
    yield "combine", combined
    yield "batch", alone
    yield "float64", double
    yield (
        "gradient",
        lambda: _gradient(
            stage, pictures, lambda own, scene: own.combine(imaged(scene.clone(), own))
        ),
    )


def _of_network(stage: nn.Module, pictures: Tensor, seed: int) -> _Asked:
    del seed  # it draws nothing in evaluation mode; "batch" would show it

    def made(given: Tensor, own: nn.Module = stage) -> Tensor:
        return own(given.clone())

    def shape() -> str:
        with torch.no_grad():
            found = made(pictures)
        _expect_tensor(found, "forward")
        if found.ndim not in (2, 4) or len(found) != len(pictures) or not found.is_floating_point():
            raise _Broken(
                f"{found.dtype} {list(found.shape)}; a classifier returns scores [B, K], a "
                "restoration pictures [B, C, H, W]"
            )
        _expect_finite(found)
        return f"{list(pictures.shape)} to {list(found.shape)}"

    def alone() -> None:
        with torch.no_grad():
            together = made(pictures)
            singly = torch.cat([made(picture) for picture in pictures.split(1)])
        _expect_equal(singly, together, "a picture gives another result alone than in a batch")

    def untouched() -> None:
        given = pictures.clone()
        with torch.no_grad():
            stage(given)
        _expect_untouched(given, pictures)

    yield "shape", shape
    yield "input", untouched
    yield "batch", alone
    yield "gradient", lambda: _gradient(stage, pictures, lambda own, given: made(given, own))


def _of_codec(stage: Codec, pictures: Tensor, seed: int) -> _Asked:
    # Sizes that no block divides.
    odd = pictures[..., : max(1, pictures.shape[-2] - 3), : max(1, pictures.shape[-1] - 1)]
    odd = odd.contiguous()

    def made(given: Tensor, own: Codec = stage) -> Coded:
        found = own(given.clone(), generator=_sources(len(given), seed))
        if not isinstance(found, Coded):
            raise _Broken(f"forward must return a compress.Coded, not {type(found).__name__}")
        return found

    def shape() -> str:
        for given in (pictures, odd):
            with torch.no_grad():
                coded = made(given)
            count, _, height, width = given.shape
            if coded.reconstruction.shape != given.shape:
                raise _Broken(f"{list(coded.reconstruction.shape)} for {list(given.shape)}")
            if coded.bits_map.shape != (count, 1, height, width):
                raise _Broken(f"bits_map {list(coded.bits_map.shape)} for {list(given.shape)}")
            if coded.side_bits.shape != (count,):
                raise _Broken(f"side_bits {list(coded.side_bits.shape)} for {count} pictures")
            _expect_finite(coded.reconstruction)
        return f"{list(pictures.shape)} and {list(odd.shape)}"

    def untouched() -> None:
        given = odd.clone()
        with torch.no_grad():
            stage(given, generator=_sources(len(given), seed))
            stage.compress(given)
        _expect_untouched(given, odd)

    def filed(given: Tensor) -> list[bytes]:
        with torch.no_grad():
            return stage.compress(given.clone())

    def files() -> str:
        with torch.no_grad():
            coded, payloads = made(odd), filed(odd)
            decoded = stage.decompress(payloads)
        if decoded.shape != odd.shape:
            raise _Broken(f"they decode to {list(decoded.shape)}, not {list(odd.shape)}")
        allowed = 0 if getattr(stage, "exact", True) else 0.5 / 255
        gap = float((decoded - coded.reconstruction).abs().max())
        if gap > allowed:
            raise _Broken(f"they decode to pictures that are up to {gap:.3g} from forward's")
        singly = torch.cat([stage.decompress([payload]) for payload in payloads])
        if float((singly - decoded).abs().max()) > allowed:
            raise _Broken("a file alone decodes to another picture than with others")
        if filed(odd[:1]) != payloads[:1]:
            raise _Broken("the file of a picture alone differs from that in a batch")
        return f"{sum(map(len, payloads)) / len(payloads):.0f} bytes per picture"

    def rate() -> str:
        with torch.no_grad():
            coded, payloads = made(odd), filed(odd)
        bits = (coded.bits_map.double().sum((1, 2, 3)) + coded.side_bits).cpu()
        if not bool((coded.bits_map >= 0).all()) or not bool(bits.isfinite().all()):
            raise _Broken("bits that are negative or not finite")
        if coded.rate not in _PRICE:
            raise _Broken(f"in evaluation mode it is bytes or rounded, not {coded.rate!r}")
        written = torch.tensor([8.0 * len(payload) for payload in payloads])
        share, ends = _PRICE[coded.rate]
        off = (bits - written).abs() > share * written + ends
        ratio = bits / written
        if bool(off.any()):
            worst = float(ratio[((bits - written).abs() - share * written - ends).argmax()])
            raise _Broken(
                f"bits_map and side_bits of a picture sum to {worst:.4g} times its file, but the "
                f"rate is declared as {coded.rate!r}"
            )
        return f"{float(ratio.mean()):.4g} times the bits of the files ({coded.rate!r})"

    def damage() -> None:
        payload = filed(odd[:1])[0]
        for cut in (b"", payload[: len(payload) // 2], payload[:-1]):
            try:
                stage.decompress([cut])
            except CorruptStream:
                continue
            except Exception as error:
                raise _Broken(
                    f"a file that was cut raises {type(error).__name__}, not compress.CorruptStream"
                ) from error
            raise _Broken(f"a file that was cut to {len(cut)} of {len(payload)} bytes decodes")

    yield "shape", shape
    yield "input", untouched
    yield "files", files
    yield "rate", rate
    yield "damage", damage
    yield (
        "gradient",
        lambda: _gradient(stage, pictures, lambda own, given: made(given, own).reconstruction),
    )


def _gradient(stage: nn.Module, pictures: Tensor, made: Callable[[Any, Tensor], Tensor]) -> str:
    """Check that the gradient reaches the pictures, and each trainable parameter."""
    # Copied first: tensors that a stage keeps from a pass with gradients cannot be copied.
    moved = copy.deepcopy(stage)
    reached, dead = _reached(stage, pictures, made)
    if not reached or dead:
        # A layer with initial weights of zero passes no gradient until its first step.
        source = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in moved.parameters():
                if parameter.requires_grad and not bool(parameter.any()):
                    noise = torch.randn(parameter.shape, generator=source)
                    parameter.add_(0.1 * noise.to(parameter))
        training = copy.deepcopy(moved).train()
        later, still = _reached(moved, pictures, made)
        reached, dead = reached or later, dead & still
        if dead:
            with suppress(Exception):  # in training mode it may need or return more
                dead = dead & _reached(training, pictures, made)[1]
    if not reached:
        raise _Broken("none reaches the pictures: stages before it would learn nothing")
    if dead and not isinstance(stage, Codec):  # some learn from its rate only
        raise _Broken(f"none reaches {', '.join(sorted(dead))}: they would never be learned")
    learning = sum(parameter.requires_grad for parameter in stage.parameters())
    return f"reaches the pictures and {learning - len(dead)} parameters"


def _reached(
    stage: nn.Module, pictures: Tensor, made: Callable[[Any, Tensor], Tensor]
) -> tuple[bool, set[str]]:
    """Whether a gradient reaches the pictures, and the parameters whose gradient is 0 or None."""
    given = clip(pictures).requires_grad_()
    stage.zero_grad(set_to_none=True)
    with torch.enable_grad():
        found = made(stage, given)
        weights = torch.rand(found.shape, generator=torch.Generator().manual_seed(0))
        if not found.requires_grad:
            raise _Broken("none: the result is detached from the pictures")
        (found * weights.to(found)).sum().backward()
    gradients = {name: p.grad for name, p in stage.named_parameters() if p.requires_grad}
    bad = [name for name, g in gradients.items() if g is not None and not bool(g.isfinite().all())]
    if bad or (given.grad is not None and not bool(given.grad.isfinite().all())):
        raise _Broken(f"not finite, of {', '.join(bad) or 'the pictures'}")
    reached = given.grad is not None and bool(given.grad.any())
    return reached, {name for name, g in gradients.items() if g is None or not bool(g.any())}


def _settings(stage: nn.Module, used: nn.Module) -> str:
    """Check that what the constructor is given, and the stage holds, also of parts, is described.

    What it does not hold by its name, or one with an underscore before it, is not found. Nor may
    the passes have changed it, in the copy that was used for them.
    """
    if changed := differing(described(stage), described(used), learning=True):
        raise _Broken(
            f"a pass changes what a run is known by ({changed}, which is after the passes): it "
            "could not be resumed, and would be loaded with a warning. Begin the name of such an "
            "attribute with an underscore"
        )
    hidden = [
        name if part is stage else f"{type(part).__name__}.{name}"
        for part in stage.modules()
        if type(part).__module__.partition(".")[0] not in _TESTED
        for name in _hidden(part)
    ]
    if hidden:
        raise _Broken(
            f"{', '.join(dict.fromkeys(hidden))} is no number or name, nor several of them: a "
            "resumed run, and a teacher, would not notice another value. Return it from extra_repr"
        )
    return "are numbers and names, or told by extra_repr"


def _hidden(part: nn.Module) -> Iterator[str]:
    entry, told = described(part)[""], part.extra_repr()
    known = {*_DECIDED, *entry["settings"], *entry["learning"]}
    for name in inspect.signature(type(part)).parameters:
        held = vars(part).get(name, vars(part).get(f"_{name}"))
        shown = re.search(rf"\b{re.escape(name)}\b", told)
        if held is not None and name not in known and not shown:
            yield name


def _sources(count: int, seed: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed + row) for row in range(count)]


def _expect_tensor(found: object, method: str) -> None:
    if not isinstance(found, Tensor):
        raise _Broken(f"{method} must return a Tensor, not {type(found).__name__}")


def _expect_finite(found: Tensor) -> None:
    if not bool(found.isfinite().all()):
        raise _Broken("values that are NaN or infinite")


def _expect_untouched(given: Tensor, pictures: Tensor) -> None:
    if not torch.equal(given, pictures):
        raise _Broken(
            "a pass changes the pictures that it is given, which are needed afterwards: make new "
            "ones, such as x = 0.5 * x instead of x.mul_(0.5)"
        )


def _expect_equal(found: Tensor, wanted: Tensor, otherwise: str) -> None:
    if found.shape != wanted.shape:
        raise _Broken(f"{otherwise}: {list(found.shape)} and {list(wanted.shape)}")
    gap = float((found - wanted).abs().max())
    if not gap <= _ROUNDED * max(1e-6, float(wanted.abs().max())):
        raise _Broken(f"{otherwise}: by up to {gap:.3g} of {float(wanted.abs().max()):.3g}")
