"""Lenses for the tests, and what another program says of them.

The numbers are those of optiland 0.6.3 (Kramer Harrison, github.com/HarrisonKramer/optiland), run
in a process of its own with constant indices of each wavelength, ``set_aiming("iterative",
max_iter=30, tol=1e-12)`` and ``tol=1e-15`` of its aspheres: y of rays in the image, mm, and its OPD
with the sign changed, waves. It fills the stop to where its real marginal ray meets it.
"""

import math

import torch

import optics
from optics.rays.ray_trace import to_stop
from optics.rays.surface import indices_of

# The Cooke triplet of 50 mm, f/5 and 40 degrees that OpticStudio has among its samples, as in
# optiland.samples.objectives: radius and thickness, mm, glass, conic, a4, a6, a8.
_COOKE = [
    (22.01359, 3.25896, 0, 0, ()),
    (-435.76044, 6.00755, None, 0, ()),
    (-22.21328, 0.99997, 1, 0, ()),
    (20.29192, 4.75041, None, 0, ()),
    (79.68360, 2.95208, 0, 0, ()),
    (-18.39533, 42.20778, None, 0, ()),
]
# Radii of its rims, such as a maker may choose.
RIMS = (6.2e-3, 6.2e-3, 5e-3, 5e-3, 5.8e-3, 6e-3)
# SK16 of Hikari and F2 of SCHOTT.
COOKE_INDICES = {
    0.48: (1.6281511974045395, 1.6330991998924538),
    0.55: (1.6226085614386923, 1.6236551229276037),
    0.65: (1.6175242213709868, 1.6154224628432314),
}
# Four aspheric plastics as in a phone, 4 mm and f/2.35; of no maker: trained with this library.
_PHONE = [
    (math.inf, -0.05, None, 0, ()),
    (1.6463, 0.62, 0, -0.3, (-0.0059651, -0.0060826, -0.011091)),
    (-8.5679, 0.08, None, 0, (0.020918, -0.034409, 0.0055973)),
    (-6.28011, 0.3, 1, 0, (0.062253, -0.023696, 0.01843)),
    (4.70719, 0.55, None, 0, (0.06835, 0.0031058, -0.010773)),
    (-4.393, 0.75, 0, 0, (-0.026465, 0.0040884, -0.020351)),
    (-1.48568, 0.42, None, -0.8, (0.0036316, -0.0050197, 0.017297)),
    (7.17679, 0.5, 0, 0, (-0.1229, 0.027434, -0.018174)),
    (1.61895, 1.44801, None, -4.5, (-0.070058, 0.0076971, -0.0057571)),
]
PHONE_INDICES = {0.486: (1.5503, 1.6691), 0.5876: (1.5445, 1.6510), 0.656: (1.5420, 1.6422)}
# Points of the stop of the rays behind the chief ray.
POINTS = ((0.0, 0.9), (0.0, -0.9), (0.6, -0.5))
# Wavelength, um, and field, degrees: y of the chief ray and of these, and the paths of these.
COOKE_RAYS = {
    (0.48, 0): (
        (0.0, -0.000163928106426, 0.000163928106426, -0.00161459584888),
        (0.718607737, 0.718607737, 0.689103153),
    ),
    (0.48, 14): (
        (12.4194114305, 12.4490547463, 12.3988346969, 12.412422328),
        (1.63846401, 1.33944127, -0.218373101),
    ),
    (0.48, 20): (
        (18.1392088841, 18.1354014351, 18.1198587124, 18.1440796652),
        (-2.53786782, -1.35919419, -1.23069707),
    ),
    (0.55, 0): (
        (0.0, -0.00119496168858, 0.00119496168858, -0.0013723420517),
        (0.637595405, 0.637595405, 0.626388393),
    ),
    (0.55, 14): (
        (12.419494052, 12.4509101227, 12.3971831579, 12.411240985),
        (1.64686734, 1.39667852, -0.0975549765),
    ),
    (0.55, 20): (
        (18.1385055445, 18.1443979943, 18.10730865, 18.1370821573),
        (-1.43488544, -0.275714084, -0.769927462),
    ),
    (0.65, 0): (
        (0.0, 0.00306090605095, -0.00306090605095, -0.0039981488344),
        (0.89757424, 0.89757424, 0.81236151),
    ),
    (0.65, 14): (
        (12.4194255149, 12.4576864367, 12.3899322142, 12.4069425916),
        (1.89624796, 1.71376486, 0.257088432),
    ),
    (0.65, 20): (
        (18.1376600637, 18.1575048359, 18.0901023159, 18.1273863383),
        (-0.29721332, 0.809508766, -0.151406201),
    ),
}
PHONE_RAYS = {
    (0.486, 0): (
        (0.0, -0.00709696181437, 0.00709696181437, -0.00147836776127),
        (0.584205324, 0.584205324, 0.661291608),
    ),
    (0.486, 18): (
        (1.30975035897, 1.37987175035, 1.32298246203, 1.31740393659),
        (4.11133317, -3.93374795, -1.91278794),
    ),
    (0.486, 28): (
        (1.91182029688, 1.89016883504, 2.01326613071, 1.94904616273),
        (-2.57249612, -20.1788071, -5.56867234),
    ),
    (0.5876, 0): (
        (0.0, -0.00811078117964, 0.00811078117964, -0.000890329682637),
        (0.327800221, 0.327800221, 0.43537837),
    ),
    (0.5876, 18): (
        (1.30881225655, 1.37698215476, 1.3242284269, 1.31752601582),
        (3.14399727, -3.48704089, -1.73975359),
    ),
    (0.5876, 28): (
        (1.91305708606, 1.89333513879, 2.01206835523, 1.9492619686),
        (-1.90231914, -16.1497738, -4.57028671),
    ),
    (0.656, 0): (
        (0.0, -0.00942372816238, 0.00942372816238, -0.000164098280682),
        (0.110515453, 0.110515453, 0.256076161),
    ),
    (0.656, 18): (
        (1.30821648281, 1.3744376024, 1.32557980486, 1.31791942536),
        (2.58064564, -3.32735415, -1.70733278),
    ),
    (0.656, 28): (
        (1.91340287489, 1.89330239203, 2.01181142322, 1.94946519437),
        (-1.76348027, -14.3370251, -4.16197032),
    ),
}


def _lens(rows, indices, stop, diameter, wavelength):
    mm = 1e-3
    surfaces = [
        optics.Surface(
            0.0 if math.isinf(radius) else 1 / (radius * mm),
            thickness * mm,
            None if glass is None else indices[glass],
            conic=float(conic),
            aspheric=[a * mm ** -(2 * n + 3) for n, a in enumerate(terms)],
            stop=number == stop,
        )
        for number, (radius, thickness, glass, conic, terms) in enumerate(rows)
    ]
    return optics.set_stop(surfaces, wavelength=wavelength, entrance_diameter=diameter)


def cooke(micrometres=0.55):
    """The triplet, its stop of the paraxial entrance pupil of 10 mm."""
    return _lens(_COOKE, COOKE_INDICES[micrometres], 3, 10e-3, micrometres * 1e-6)


def phone(micrometres=0.5876):
    """The phone's lens, whose stop of 1.7 mm is in front."""
    return _lens(_PHONE, PHONE_INDICES[micrometres], 0, 1.7e-3, micrometres * 1e-6)


def mounted():
    """The triplet in rims that cut off light beside the axis."""
    return [
        surface if surface.stop else surface._replace(semi_diameter=rim)
        for surface, rim in zip(cooke(), RIMS, strict=True)
    ]


def menisci():
    """Two menisci about a stop, f/22: at 35 degrees far from the axis, where they are not sharp."""
    crown = (1.5109, 64.2)
    rows = [(8.57, 2.2, crown), (8.63, 6.9, None), (math.inf, 6.9, None), (-8.63, 2.2, crown)]
    rows.append((-8.57, 90.0, None))
    surfaces = [
        optics.Surface(1e3 / radius, 1e-3 * way, glass, stop=number == 2)
        for number, (radius, way, glass) in enumerate(rows)
    ]
    surfaces = optics.set_stop(surfaces, wavelength=550e-9, f_number=22.0)
    image = float(optics.first_order(surfaces, wavelength=550e-9).image_distance)
    return [*surfaces[:-1], surfaces[-1]._replace(thickness=image)]


def filled(surfaces, micrometres, diameter):
    """A lens whose stop ends where the real ray at the rim of the entrance pupil meets it."""
    light = torch.tensor([micrometres * 1e-6], dtype=torch.float64)
    ray = optics.Rays(
        torch.tensor([[0.0, diameter / 2, 0.0]], dtype=torch.float64),
        torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64),
        torch.zeros(1, dtype=torch.float64),
        torch.ones(1, dtype=torch.bool),
    )
    height = float(to_stop(ray, surfaces, indices_of(surfaces, light)).position[0, 1])
    return [s._replace(semi_diameter=height) if s.stop else s for s in surfaces]
