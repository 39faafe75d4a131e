"""Decentred and tilted surfaces, against closed forms and a trace by scipy."""

import math

import lenses
import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.spatial.transform import Rotation

import optics
from optics.rays.misalignment import rolled
from optics.rays.paraxial import system_matrix
from optics.rays.ray_aiming import aimed, given_lens, pupil_points
from optics.rays.surface import as_surfaces, indices_of

_LIGHT = 550e-9


def _rays(places, directions):
    places = torch.as_tensor(places, dtype=torch.float64)
    directions = torch.as_tensor(directions, dtype=torch.float64).expand_as(places)
    zero = torch.zeros(places.shape[:-1], dtype=torch.float64)
    return optics.Rays(places, directions, zero, torch.ones_like(zero, dtype=torch.bool))


def _axial(*places):
    return _rays([[*place, 0.0] for place in places], [0.0, 0.0, 1.0])


@pytest.mark.parametrize("angle", [0.02, -0.4])
def test_a_tilted_plate_displaces_a_ray_by_the_closed_form(angle):
    index, thickness = 1.6, 7e-3
    plate = [optics.Surface(0.0, thickness, index), optics.Surface(0.0, 20e-3)]
    sine, cosine = math.sin(angle), math.cos(angle)
    wanted = thickness * sine * (1 - cosine / math.sqrt(index**2 - sine**2))
    about_x = optics.trace(
        _axial((1e-3, 2e-3)), optics.misalign(plate, (0, 1), tilt=(angle, 0.0)), wavelength=_LIGHT
    )
    about_y = optics.trace(
        _axial((1e-3, 2e-3)), optics.misalign(plate, (0, 1), tilt=(0.0, angle)), wavelength=_LIGHT
    )
    # Behind the vertex, it has moved towards -y by a tilt about x, and towards +x by one about y.
    assert about_x.position[0].tolist() == pytest.approx([1e-3, 2e-3 - wanted, 0.0], abs=1e-16)
    assert about_y.position[0].tolist() == pytest.approx([1e-3 + wanted, 2e-3, 0.0], abs=1e-16)
    assert about_x.direction[0].tolist() == pytest.approx([0.0, 0.0, 1.0], abs=1e-15)


def _focal_length(surfaces):
    indices = indices_of(surfaces, torch.tensor(_LIGHT, dtype=torch.float64))
    return -1 / float(system_matrix(surfaces, indices)[2])


@pytest.mark.parametrize("element", [0, 1, 2])
def test_a_decentred_element_shifts_the_image_as_a_thin_lens(element):
    lens = lenses.cooke()
    image = float(optics.first_order(lens, wavelength=_LIGHT).image_distance)
    lens = (*lens[:-1], lens[-1]._replace(thickness=image))
    off = 2e-7
    moved = optics.misalign(lens, (2 * element, 2 * element + 1), decentre=(off, 0.0))
    found = optics.trace(_axial((0.0, 0.0)), moved, wavelength=_LIGHT)
    # By (1 - m) of the element, times the magnification of what is behind it.
    whole, with_it = _focal_length(lens), _focal_length(lens[: 2 * element + 2])
    magnification = with_it / _focal_length(lens[: 2 * element]) if element else 0.0
    wanted = off * (1 - magnification) * whole / with_it
    assert float(found.position[0, 0]) == pytest.approx(wanted, rel=1e-5)
    assert abs(wanted) > off / 2


def test_a_sphere_that_turns_about_its_centre_stays():
    radius, angle = 20e-3, 0.03
    lens = [
        optics.Surface(1 / radius, 6e-3, 1.6),
        optics.Surface(-1 / radius, 3e-3),
        optics.Surface(0.0, 10e-3),
    ]
    rays = _axial((1e-3, 3e-3), (-4e-3, 0.0), (0.0, 0.0))
    straight = optics.trace(rays, lens, wavelength=_LIGHT)
    # About the vertex of the second surface its centre, at -radius, moves aside and back.
    centre = -radius
    tilted = optics.misalign(lens, 1, tilt=(0.0, angle))
    there = list(optics.misalign(tilted, 1, decentre=(-centre * math.sin(angle), 0.0)))
    back = centre * (1 - math.cos(angle))  # along the axis
    there[0] = there[0]._replace(thickness=there[0].thickness + back)
    there[1] = there[1]._replace(thickness=there[1].thickness - back)
    for found, wanted in zip(optics.trace(rays, there, wavelength=_LIGHT), straight, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-15)
    # And so a decentred one is a tilted one, which is not the straight one.
    aside = list(optics.misalign(lens, 1, decentre=(centre * math.sin(angle), 0.0)))
    aside[0] = aside[0]._replace(thickness=aside[0].thickness - back)
    aside[1] = aside[1]._replace(thickness=aside[1].thickness + back)
    one, other = (optics.trace(rays, each, wavelength=_LIGHT) for each in (aside, tilted))
    torch.testing.assert_close(one.position, other.position, rtol=0, atol=1e-15)
    assert (one.position - straight.position).abs().max() > 1e-4


def test_a_tilt_of_the_whole_lens_is_a_field_angle():
    angle = 0.05
    lens = lenses.cooke()
    turn = Rotation.from_euler("XY", [angle, 0.0])
    tilted = optics.misalign(lens, (0, len(lens) - 1), tilt=(angle, 0.0))
    starts = np.array([[0.0, 0.0, 0.0], [1e-3, 2e-3, 0.0], [-3e-3, 1e-3, 0.0]])
    field = [0.0, math.sin(angle), math.cos(angle)]
    straight = optics.trace(_rays(starts, field), lens, wavelength=_LIGHT)
    # The same rays as the lens that is turned sees them.
    seen = optics.trace(_rays(turn.apply(starts), turn.apply(field)), tilted, wavelength=_LIGHT)
    assert turn.apply(field) == pytest.approx([0.0, 0.0, 1.0], abs=1e-15)
    assert seen.direction.numpy() == pytest.approx(
        turn.apply(straight.direction.numpy()), abs=1e-14
    )
    # The image stays: where the rays are that fall on the image of the turned lens.
    length = sum(s.thickness for s in lens)
    end = np.array([0.0, 0.0, length])
    points = turn.apply(straight.position.numpy() + end) - end
    way = -points[:, 2:] / seen.direction.numpy()[:, 2:]
    assert seen.position.numpy() == pytest.approx(points + way * seen.direction.numpy(), abs=1e-15)


def _by_scipy(surfaces, seats, start, way):
    """A ray through surfaces in their seats, (vertex, Rotation), in the frame of the first vertex.

    Its points and paths are found by roots along the ray.
    """
    at, way, path, before = np.array(start), np.array(way), 0.0, 1.0
    for surface, (vertex, turn) in zip(surfaces, seats, strict=True):
        behind = surface.material or 1.0

        def sag(r, surface=surface):
            root = np.sqrt(1 - (1 + surface.conic) * surface.curvature**2 * r**2)
            powers = np.array([r ** (2 * n + 4) for n in range(len(surface.aspheric))])
            slopes = np.array([(2 * n + 4) * r ** (2 * n + 3) for n in range(len(powers))])
            terms = np.array(surface.aspheric)
            height = surface.curvature * r**2 / (1 + root) + float(np.sum(terms * powers))
            return height, surface.curvature * r / root + float(np.sum(terms * slopes))

        def off(s, at=at, way=way, vertex=vertex, turn=turn, sag=sag):
            x, y, z = turn.apply(at + s * way - vertex, inverse=True)
            return z - sag(math.hypot(x, y))[0]

        along = (vertex - at)[2] / way[2]
        further = brentq(off, along - 6e-4, along + 6e-4, xtol=1e-18, rtol=1e-14)
        at, path = at + further * way, path + before * further
        x, y, _ = turn.apply(at - vertex, inverse=True)
        r = math.hypot(x, y)
        slope = sag(r)[1] / r if r else 0.0
        normal = turn.apply(np.array([-slope * x, -slope * y, 1.0]))
        normal /= np.linalg.norm(normal)
        # What is along the surface keeps n times its size.
        aside = before / behind * (way - (way @ normal) * normal)
        way = aside + math.sqrt(1 - aside @ aside) * normal
        before = behind
    end = np.array([0.0, 0.0, sum(s.thickness for s in surfaces)])
    further = (end - at)[2] / way[2]
    return at + further * way - end, way, path + before * further


def test_rays_are_those_of_a_trace_by_scipy_in_the_frame_of_the_lens():
    lens = lenses.phone()
    group, off = (0.012, -0.02), (15e-6, -25e-6)
    single, aside = (-0.015, 0.01), (0.0, 30e-6)
    made = optics.misalign(lens, (3, 6), decentre=off, tilt=group)
    made = optics.misalign(made, 5, decentre=aside, tilt=single)
    made = optics.misalign(made, 8, tilt=(0.01, 0.004))
    along = np.concatenate(([0.0], np.cumsum([s.thickness for s in lens])))
    seats = [(np.array([0.0, 0.0, z]), Rotation.identity()) for z in along[:-1]]
    turn, pivot = Rotation.from_euler("XY", group), seats[3][0]
    for number in range(3, 7):
        arm = seats[number][0] - pivot
        seats[number] = (pivot + turn.apply(arm) + np.array([*off, 0.0]), turn)
    vertex, held = seats[5]
    seats[5] = (vertex + np.array([*aside, 0.0]), Rotation.from_euler("XY", single) * held)
    seats[8] = (seats[8][0], Rotation.from_euler("XY", [0.01, 0.004]))
    starts = [[0.0, 0.0, 0.0], [3e-4, -2e-4, 0.0], [-1e-4, 6e-4, 0.0]]
    ways = np.array([[0.0, 0.0, 1.0], [0.1, 0.05, 0.0], [-0.2, 0.15, 0.0]])
    ways[:, 2] = np.sqrt(1 - (ways[:, :2] ** 2).sum(-1))
    found = optics.trace(_rays(starts, ways), made, wavelength=587.6e-9)
    straight = optics.trace(_rays(starts, ways), lens, wavelength=587.6e-9)
    assert found.valid.all()
    assert (found.position - straight.position).abs().min(0).values[:2].min() > 1e-6
    for number, (start, way) in enumerate(zip(starts, ways, strict=True)):
        place, direction, path = _by_scipy(lens, seats, start, way)
        assert found.position[number].tolist() == pytest.approx(place, abs=1e-14)
        assert found.direction[number].tolist() == pytest.approx(direction, abs=1e-11)
        assert float(found.path[number]) == pytest.approx(path, abs=1e-14)


def test_a_rim_is_about_its_own_vertex():
    rim = [optics.Surface(0.0, 1e-3, semi_diameter=1e-3)]
    moved = optics.misalign(rim, 0, decentre=(0.5e-3, 0.0))
    found = optics.trace(_axial((1.4e-3, 0.0), (-0.6e-3, 0.0)), moved, wavelength=_LIGHT)
    assert found.valid.tolist() == [True, False]


def test_a_stop_that_is_moved_takes_the_chief_ray_with_it():
    lens = [
        optics.Surface(0.0, 1e-3, semi_diameter=1e-3, stop=True),
        optics.Surface(50.0, 2e-3, 1.5),
        optics.Surface(-50.0, 19e-3),
    ]
    moved = optics.misalign(lens, 0, decentre=(0.0, 2e-4))
    given = given_lens(moved, [0.0], [_LIGHT], math.inf)
    points, _ = pupil_points(3)
    found = aimed(given, points)
    assert found.lit.all()
    straight = optics.trace(_axial((0.0, 2e-4)), lens, wavelength=_LIGHT)
    torch.testing.assert_close(found.chief.position[0, 0, 0], straight.position[0])


@pytest.mark.parametrize("distance", [math.inf, 0.4])
def test_a_lens_that_is_rolled_has_the_rays_of_the_field_that_is_rolled(distance):
    lens = optics.misalign(lenses.cooke(), (0, 1), decentre=(2e-5, -5e-5), tilt=(2e-3, 1e-3))
    lens = optics.misalign(lens, 5, tilt=(0.0, -3e-3))
    field = torch.tensor([[0.1, 0.2]], dtype=torch.float64)
    if distance < math.inf:
        field, slopes = 0.1 * field, 0.1 * field
    else:
        slopes = field.tan()
    azimuth = torch.atan2(slopes[0, 1], slopes[0, 0])
    size = slopes.norm()
    turn = azimuth - math.pi / 2
    points, _ = pupil_points(3)
    cos, sin = turn.cos(), turn.sin()
    about = torch.stack((torch.stack((cos, sin)), torch.stack((-sin, cos))))  # from the right
    one = aimed(given_lens(lens, field, [_LIGHT], distance), points @ about)
    along = size if distance < math.inf else size.atan()
    given = given_lens(lens, along[None], [_LIGHT], distance)
    other = aimed(given._replace(surfaces=rolled(given.surfaces, -turn[None])), points)
    assert one.lit.all()
    torch.testing.assert_close(
        one.rays.position[..., :2], other.rays.position[..., :2] @ about, rtol=0, atol=1e-13
    )
    less = (each.rays.path - each.chief.path for each in (one, other))
    torch.testing.assert_close(*less, rtol=0, atol=1e-14)


def test_gradients_to_decentre_and_tilt_are_finite_differences():
    def form(decentre, tilt):
        lens = optics.misalign(
            lenses.phone(), (3, 6), decentre=decentre.unbind(), tilt=tilt.unbind()
        )
        found = optics.trace(_axial((2e-4, 3e-4), (0.0, 0.0)), lens, wavelength=587.6e-9)
        return found.position[..., :2] * 1e3, found.direction, found.path * 1e3

    decentre = torch.tensor([2e-2, -1e-2], dtype=torch.float64, requires_grad=True)
    tilt = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda d, t: form(1e-3 * d, t), (decentre, tilt))


def test_numbers_stay_numbers_and_what_is_not_held_stays():
    lens = lenses.cooke()
    made = optics.misalign(lens, (2, 3), decentre=(1e-5, 0.0))
    assert made[2].decentre == (1e-5, 0.0)
    assert made[3].tilt == (0.0, 0.0)
    assert all(isinstance(s.thickness, float) for s in made)
    assert [s.is_aligned for s in made] == [True, True, False, False, True, True]
    assert (*made[:2], *made[4:]) == (*lens[:2], *lens[4:])
    both = optics.misalign(made, (2, 3), decentre=(-1e-5, 0.0))
    assert all(s.is_aligned for s in both)


@pytest.mark.parametrize(
    ("numbers", "how", "error", "told"),
    [
        (6, {}, ValueError, "numbers must be that of a surface, from 0 to 5, or"),
        ((3, 2), {}, ValueError, r"not \(3, 2\)"),
        ((1, 2, 3), {}, ValueError, "the first and the last of several"),
        (1.5, {}, ValueError, "numbers must be that of a surface"),
        ([3], {}, ValueError, r"not \[3\]"),
        (0, {"decentre": 1e-3}, TypeError, "decentre must be two numbers, x and y, metres"),
        (0, {"decentre": torch.tensor(1e-3)}, TypeError, "decentre must be two numbers"),
        (0, {"decentre": np.array(1e-3)}, TypeError, "decentre must be two numbers"),
        (0, {"decentre": np.zeros((2, 2))}, TypeError, "decentre must be two numbers"),
        (0, {"decentre": "12"}, TypeError, "decentre must be two numbers"),
        (0, {"decentre": (True, 0.0)}, TypeError, "decentre, x, must be one number"),
        (0, {"decentre": (math.nan, 0.0)}, ValueError, "decentre, x, must be finite"),
        (0, {"tilt": (0.0, 2.0)}, ValueError, "tilt, y, must be radians, below pi / 2, not 2"),
    ],
)
def test_other_surfaces_decentres_and_tilts_are_refused(numbers, how, error, told):
    with pytest.raises(error, match=told):
        optics.misalign(lenses.cooke(), numbers, **how)


def test_tilts_that_add_up_to_90_degrees_are_refused():
    tilted = optics.misalign(lenses.cooke(), (2, 3), tilt=(1.05, 0.0))
    with pytest.raises(
        ValueError, match=r"tilt of surface 2, x, must be .* below pi / 2, not 2\.1"
    ):
        optics.misalign(tilted, (2, 3), tilt=(1.05, 0.0))
    back = optics.misalign(tilted, (2, 3), tilt=(-1.05, 0.0))
    assert back[3].tilt == pytest.approx((0.0, 0.0), abs=1e-15)


@pytest.mark.parametrize(
    "pair",
    [
        [1e-5, -2e-5],
        np.array([1e-5, -2e-5]),
        torch.tensor([1e-5, -2e-5], dtype=torch.float64),
        (torch.tensor([1e-5], dtype=torch.float64), -2e-5),
    ],
)
def test_a_pair_is_two_numbers_however_they_are_held(pair):
    lens, seats = lenses.cooke(), {"decentre": (1e-5, -2e-5), "tilt": (1e-5, -2e-5)}
    wanted = optics.misalign(lens, (2, 3), **seats)
    found = optics.misalign(lens, [2, 3], decentre=pair, tilt=pair)
    given = lens[2]._replace(decentre=pair, tilt=pair)
    for one, right in (
        (found[2], wanted[2]),
        (found[3], wanted[3]),
        (as_surfaces([given])[0], wanted[2]),
    ):
        for name in ("decentre", "tilt"):
            assert list(map(float, getattr(one, name))) == pytest.approx(getattr(right, name))
            assert all(getattr(value, "ndim", 0) == 0 for value in getattr(one, name))
