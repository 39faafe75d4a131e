import pytest
from pages import RESAMPLES, Page, train

import joint
from joint.report import report_html
from joint.report.words import configuration_words


@pytest.mark.parametrize(
    ("system", "part", "words"),
    [
        (
            {"front_end": joint.KernelConfig(signed=False)},
            "front end",
            "7 × 7 pixels, one exposure;",
        ),
        (
            {"front_end": joint.FourierConfig(start="spiral")},
            "front end",
            "coherent light; training",
        ),
        (
            {"front_end": joint.LensConfig(defocus=0.5)},
            "front end",
            "20 mm at f/8, pixels of 3.5 µm, no element in the pupil, 0.5 waves of defocus "
            "at the rim",
        ),
        (
            {"front_end": joint.LensConfig(obscuration=0.35)},
            "front end",
            "20 mm at f/8, a central obscuration of 35 % of its diameter, pixels of 3.5 µm",
        ),
        (
            {"front_end": joint.LensConfig(element="cubic", strength=2, restoration=0.05)},
            "front end",
            "cubic element in the pupil (strength 2 waves before training), 0 waves of defocus "
            "at the rim, deblurred after the sensor (noise to signal 0.05 before training)",
        ),
        (
            {
                "front_end": joint.LensConfig(
                    defocus=-0.3, astigmatism=0.1, coma=-0.07, spherical=0.05, zernike={9: 0.02}
                )
            },
            "front end",
            "-0.3 waves of defocus at the rim, 0.1 waves RMS of astigmatism (Noll 6), -0.07 waves "
            "RMS of coma (Noll 8), 0.05 waves RMS of spherical aberration (Noll 11), 0.02 waves "
            "RMS of Zernike's polynomial (Noll 9)",
        ),
        (
            {
                "front_end": joint.LensConfig(
                    off_axis={
                        "coma": 0.3,
                        "field_curvature": -0.2,
                        "heights": (0, 1),
                        "indices": (4,),
                        "table": (0.0, 0.1),
                    }
                )
            },
            "front end",
            "at the rim, 0.3 waves of coma (W131) at the rim, in the corners, -0.2 waves of field "
            "curvature (W220) at the rim, in the corners, a wavefront (Noll 4) tabulated at 2 h",
        ),
        (
            {
                "front_end": joint.LensConfig(
                    distortion=-0.2, lateral_colour=0.01, axial_colour=0.016, half_field=0.7
                )
            },
            "front end",
            "distortion of -20 % in the corners, +1 % of lateral colour, +1.6 % of axial colour, "
            "corners 0.7 radians off",
        ),
        ({"front_end": joint.LensConfig(singlet="f2")}, "front end", "a singlet of f2"),
        (
            {"front_end": joint.CompoundConfig(focus=float("inf"), centre=2e-5, air=1e-5)},
            "front end",
            "focused on infinity, glass on the axis of at least 0.02 mm, air before glass or the "
            "sensor of at least 0.01 mm",
        ),
        (
            {
                "front_end": joint.LensConfig(
                    colour={"filters": "learned", "lamps": "fixed", "patterns": 2}
                )
            },
            "front end",
            "learned colour filters of 3 channels, fixed light of a lamp for each band, 2 expos",
        ),
        (
            {"front_end": joint.PSFConfig(file="a/lens.npy", throughput=(0.9, 0.8, 1.0))},
            "front end",
            "fixed PSF of a/lens.npy, window 31 × 31 pixels, throughput 0.9 / 0.8 / 1",
        ),
        (
            {
                "front_end": joint.PSFConfig(
                    file="a/spot.png",
                    content="picture",
                    throughput=0.9,
                    spacing=1e-6,
                    pixel_pitch=3e-6,
                    psf_size=9,
                    restoration=0.01,
                )
            },
            "front end",
            "fixed PSF of the picture a/spot.png of a point source, window 9 × 9 pixels, "
            "throughput 0.9, samples of 1 µm on pixels of 3 µm, deblurred after the sensor",
        ),
        (
            {"front_end": joint.PSFConfig(trained=True)},
            "front end",
            "learned PSF, which began from a point, window 31 × 31 pixels",
        ),
        ({"front_end": joint.NoneConfig()}, "front end", "none: the sensor sees the scene"),
        ({"sensor": joint.SensorConfig(cfa="rggb")}, "sensor", "rggb mosaic, bilinear demosaicing"),
        (
            {"sensor": joint.SensorConfig(cfa="rggb", demosaicing="packed")},
            "sensor",
            "rggb mosaic, not demosaiced: its phases are channels at half the height",
        ),
        ({"sensor": joint.SensorConfig(bit_depth=None)}, "sensor", "not rounded"),
        (
            {
                "sensor": joint.SensorConfig(
                    photons=300, photon_range=(30, 3000), automatic_gain=False
                )
            },
            "sensor",
            "30 to 3,000 photons/pixel at full scale, drawn for each picture, with a gain chosen "
            "for 300, quantum efficiency 0.6, read noise 2 electrons RMS, 10 bits, gaussian shot "
            "noise, a gain that does not follow the light",
        ),
        (
            {
                "sensor": joint.SensorConfig(
                    full_well=12000,
                    gain=7.5,
                    black_level=16,
                    prnu=0.01,
                    dsnu=2.5,
                    dark_current=5,
                    exposure_time=0.2,
                )
            },
            "sensor",
            "gaussian shot noise, gain 7.5 electrons/DN, black level 16 DN, full well 12,000 "
            "electrons, dark current 5 electrons/s over 0.2 s, PRNU 1 % RMS, DSNU 2.5 electrons "
            "RMS",
        ),
        ({"sensor": joint.SensorConfig(trainable_gain=True)}, "sensor", "noise, learned gain"),
        (
            {"front_end": joint.LensConfig(off_axis={"vignetting": 0.4})},
            "front end",
            "rim, vignetting of 40 % of the pupil in the corners",
        ),
        (
            {"sensor": joint.SensorConfig(trainable_gain=True, gain=3)},
            "sensor",
            "learned gain (3 electrons/DN before training)",
        ),
        (
            {"sensor": joint.SensorConfig(colour_matrix=(2.0, -1.0, 0.5, 0.5))},
            "sensor",
            "noise, colour matrix 2 -1 0.5 0.5",
        ),
        (
            {
                "sensor": joint.SensorConfig(
                    colour_matrix=(2.0, -1.0, 0.5, 0.5), trainable_colour_matrix=True
                )
            },
            "sensor",
            "noise, learned colour matrix (2 -1 0.5 0.5 before training)",
        ),
        ({"sensor": joint.NoneConfig()}, "sensor", "none: the scene is read without noise"),
        ({"codec": joint.JPEGConfig(quality=7)}, "codec", "jpeg, quality 7, subsampling 4:2:0"),
        ({"codec": joint.NoneConfig()}, "codec", "none: the classifier sees the measurement"),
        (
            {"classifier": joint.ClassifierConfig(dropout=0.2)},
            "classifier",
            "dropout 0.2, from random",
        ),
        ({"classifier": joint.NoneConfig()}, "classifier", "none: the system ends with a picture"),
    ],
)
def test_a_configuration_is_said_in_words(system, part, words):
    config = joint.RunConfig(system=joint.SystemConfig(**system))
    assert words in dict(configuration_words(config))[part]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, False),
        ({"bit_depth": 8}, False),
        ({"bit_depth": 16}, True),
        ({"white_level": 4095}, True),  # of 12 bits, that are reduced to 8
    ],
)
def test_codes_of_8_bits_have_no_white_level(settings, said):
    config = joint.RunConfig(data=joint.ImageTableConfig(table="labels.csv", **settings))
    scenes = dict(configuration_words(config))["scenes"]
    assert scenes.startswith("table, table labels.csv, ")
    assert ("white level" in scenes) == said


def test_a_camera_of_one_broad_channel_has_a_report(tmp_path, undrawn):
    options = [
        *("--front-end", "lens", "--codec", "none", "--data.wavelengths", "550e-9"),
        *("--system.front-end.wavelengths", "450e-9", "500e-9", "550e-9", "600e-9", "650e-9"),
        *("--system.front-end.spectral-response", "1", "2", "3", "2", "1"),
    ]
    run = train(tmp_path / "run", *options)
    said = "".join(Page(report_html([run], quick=True, pictures=2, resamples=RESAMPLES)).text)
    assert "each channel sees several wavelengths, of 450, 500, 550, 600, 650 nm" in said
