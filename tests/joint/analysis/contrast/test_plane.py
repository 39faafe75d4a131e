import pytest
import torch
from toys import tinted_disks

import compress
import joint
import optics
from classify import LesionDataset, LesionPhantom
from joint.analysis import MEASURES, PLANES, contrast, contrast_at, measure_contrast


@pytest.fixture
def camera():
    return joint.ImagingSystem(
        front_end=optics.LearnedKernel("gaussian", 5, signed=False), sensor=optics.Sensor(2000)
    )


def test_contrast_at_every_plane(camera):
    images, masks = tinted_disks(3)
    with torch.no_grad():
        output = camera(images, generator=torch.Generator().manual_seed(0))
    at = {plane: contrast_at(output, masks, plane=plane) for plane in PLANES}
    assert torch.equal(at["scene"].weber, contrast(images, masks).weber)
    light = contrast(output.irradiance, masks, encoding="linear")
    assert torch.equal(at["irradiance"].cnr, light.cnr)
    assert torch.equal(at["measurement"].edge, contrast(output.measurement, masks).edge)
    assert torch.equal(at["handed"].edge, at["measurement"].edge)
    assert (at["irradiance"].edge < at["scene"].edge).all()
    assert (at["measurement"].gcnr <= at["irradiance"].gcnr).all()
    linear = contrast_at(output, masks, plane="measurement", encoding="linear")
    assert not torch.equal(linear.weber, at["measurement"].weber)


@pytest.mark.parametrize("encoding", ["srgb", "linear"])
@pytest.mark.parametrize("plane", PLANES)
def test_an_output_says_what_its_planes_are(plane, encoding):
    images, masks = tinted_disks(3)
    system = joint.ImagingSystem(front_end=optics.LearnedKernel("gaussian", 5), encoding=encoding)
    with torch.no_grad():
        output = system(images)
    assert output.encoding == encoding
    meant = "linear" if plane == "irradiance" else encoding
    picture = getattr(output, plane)
    if plane == "irradiance":  # two exposures, of one sign each
        picture = picture.unflatten(1, (2, 3)).sum(1)
    expected = contrast(picture, masks, encoding=meant)
    assert torch.equal(contrast_at(output, masks, plane=plane).weber, expected.weber)


def _stack(*kernels, channels=3):
    taps = torch.zeros(len(kernels), 5, 5)
    for tap, kernel in zip(taps, kernels, strict=True):
        if kernel == "sharp":
            tap[2, 2] = 0.999
        else:
            tap[:] = 0.999 / 25
    front_end = optics.LearnedKernel(taps, channels=channels, signed=False)
    return joint.ImagingSystem(front_end=front_end)


def test_exposures_are_light_of_one_picture():
    images, masks = tinted_disks(3)
    two, one = _stack("sharp", "sharp")(images), _stack("sharp")(images)
    assert (two.exposures, one.exposures) == (2, 1)
    assert two.irradiance.shape[1] == 6
    ours, same = (contrast_at(output, masks, plane="irradiance") for output in (two, one))
    for name in MEASURES:
        torch.testing.assert_close(getattr(ours, name), getattr(same, name))
    # Three exposures of grey are not red, green and blue.
    grey = images.mean(1, keepdim=True)
    output = _stack("sharp", "wide", "sharp", channels=1)(grey)
    ours = contrast_at(output, masks, plane="irradiance")
    light = output.irradiance.sum(1, keepdim=True)
    assert torch.equal(ours.edge, contrast(light, masks, encoding="linear").edge)
    assert ours.causes.no_colour.all()


def test_contrast_behind_optics_for_fields():
    _, masks = tinted_disks(2)
    field = 0.5 * torch.exp(0.5j * masks[:, None].float())
    front_end = optics.FourierFilter(40, "phase_contrast", channels=1)
    output = joint.ImagingSystem(front_end=front_end, encoding="linear")(field)
    ours = contrast_at(output, masks, plane="irradiance")
    same = contrast(output.irradiance, masks, encoding="linear")
    assert torch.equal(ours.weber, same.weber)
    with pytest.raises(ValueError, match=r"pictures must be floats.*complex64"):
        contrast_at(output, masks)


def test_contrast_at_reduces_masks_to_the_plane():
    images, masks = tinted_disks(2, noise=0.0, radius=8.5)
    small = torch.nn.functional.avg_pool2d(images, 2)
    output = joint.SystemOutput(
        scene=images, irradiance=small, raw=None, measurement=small, coded=None, handed=small,
        logits=None,
    )  # fmt: skip
    ours = contrast_at(output, masks, plane="irradiance")
    areas = torch.nn.functional.avg_pool2d(masks.float(), 2) >= 0.5
    same = contrast(small, areas, inner=1, outer=5, encoding="linear")
    assert torch.equal(ours.weber, same.weber)
    assert torch.equal(ours.octants, same.octants)


def test_a_lesion_smaller_than_half_a_pixel_of_the_plane_is_told_from_an_empty_mask():
    images, masks = tinted_disks(3)
    masks[0] = False
    masks[1] = False
    masks[1, 15, 15] = True
    sensor = optics.Sensor(2000, binning=2, bit_depth=None, shot_noise="none")
    output = joint.ImagingSystem(sensor=sensor)(images)
    found = contrast_at(output, masks, plane="measurement")
    reasons = {(each.measure, each.reason): each.rows for each in found.undefined}
    for name in MEASURES:
        assert reasons[name, "the mask is empty"] == (0,)
        assert reasons[name, "the lesion covers no pixel of the plane by half or more"] == (1,)
    assert len(reasons) == 2 * len(MEASURES)
    assert found.causes.too_small.tolist() == [False, True, False]
    assert not contrast_at(output, masks).causes.too_small.any()


def test_without_masks_there_is_no_contrast():
    images, _ = tinted_disks(2)
    with pytest.raises(TypeError, match=r"bool Tensor \[B, H, W\], not NoneType: a data set with"):
        contrast_at(joint.ImagingSystem()(images), None)


def test_planes_that_are_not_there_are_refused(camera):
    images, masks = tinted_disks(2)
    output = joint.ImagingSystem()(images)
    with pytest.raises(ValueError, match=r"no irradiance.*neither front end nor sensor"):
        contrast_at(output, masks, plane="irradiance")
    with pytest.raises(ValueError, match=r"plane must be one of scene, irradiance, .*not 'raw'"):
        contrast_at(output, masks, plane="raw")
    with pytest.raises(ValueError, match="differ in number or size"):
        contrast_at(output, masks[:1])


@pytest.mark.parametrize("name", ["soft_gcnr", "edge", "cnr", "delta_e"])
def test_ascent_through_a_learned_kernel_raises_contrast(name):
    images, masks = tinted_disks(4, 32, lesion=0.6, skin=0.65, noise=0.05)
    images[:] = 0.7 * images + 0.3 * images.roll(1, -1)
    # Blur gathers light over the border, but it also averages noise: start from a bad camera.
    start: optics.KernelStart = "identity" if name in ("soft_gcnr", "cnr") else "gaussian"
    system = joint.ImagingSystem(front_end=optics.LearnedKernel(start, 5, signed=False))
    optimizer = torch.optim.Adam(system.parameters(), lr=0.003)
    values = []
    for _ in range(25):
        ours = contrast_at(system(images), masks, plane="irradiance", bins=16)
        values.append(getattr(ours, name).mean())
        optimizer.zero_grad()
        (-values[-1]).backward()
        optimizer.step()
    first, last = (float(v.detach()) for v in (values[0], values[-1]))
    assert last > 1.02 * first


def test_a_data_set_is_measured_at_a_plane_of_a_system(camera):
    dataset = LesionPhantom(10, 48, seed=1)
    scenes = measure_contrast(dataset, batch_size=4)
    whole = contrast(dataset.gather(range(10)).images / 255.0, dataset.gather_masks(range(10)))
    for name in MEASURES:
        assert torch.allclose(
            getattr(scenes, name), getattr(whole, name), atol=1e-5, equal_nan=True
        )
    camera.train()
    seen = measure_contrast(dataset, system=camera, plane="measurement")
    again = measure_contrast(dataset, system=camera, plane="measurement", seed=0)
    other = measure_contrast(dataset, system=camera, plane="measurement", seed=1)
    assert torch.equal(seen.cnr, again.cnr)
    parts = measure_contrast(dataset, system=camera, plane="measurement", batch_size=3)
    assert torch.allclose(parts.cnr, seen.cnr, rtol=1e-3)
    assert not torch.equal(seen.cnr, other.cnr)
    assert camera.training
    assert (seen.edge < scenes.edge).float().mean() > 0.5
    with pytest.raises(ValueError, match="batch_size must be at least 1, not 0"):
        measure_contrast(dataset, batch_size=0)


def test_a_system_in_training_is_measured_as_it_is_used():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        system = joint.ImagingSystem(codec=compress.FactorizedCodec())
    dataset = LesionPhantom(3, 32, seed=1)
    used = measure_contrast(dataset, system=system.eval(), plane="handed")
    training = measure_contrast(dataset, system=system.train(), plane="handed")
    assert torch.equal(training.cnr, used.cnr)
    assert system.training
    assert not used.cnr.requires_grad


def test_light_is_measured_as_light():
    images, masks = tinted_disks(4)
    scenes = LesionDataset(
        images=(65535 * images).round().to(torch.uint16),
        labels=[0] * 4, groups=range(4), identifiers=range(4), masks=masks, encoding="linear",
    )  # fmt: skip
    expected = contrast(images, masks, encoding="linear")
    linear = joint.ImagingSystem(encoding="linear")
    for found in (measure_contrast(scenes), measure_contrast(scenes, system=linear)):
        assert torch.allclose(found.weber, expected.weber, atol=1e-4)
    with pytest.raises(ValueError, match="the scenes are linear light"):
        measure_contrast(scenes, system=joint.ImagingSystem())


@pytest.mark.parametrize("size", [(48, 48), (47, 49)])
def test_the_pattern_of_the_colour_filters_is_no_contrast(size):
    # Two flat colours: the histograms of their phases are apart.
    masks = torch.zeros(2, *size, dtype=torch.bool)
    masks[:, 16:32, 16:32] = True
    skin, lesion = torch.tensor([200, 140, 120]), torch.tensor([120, 80, 70])
    images = torch.where(masks[:, None], lesion.view(1, 3, 1, 1), skin.view(1, 3, 1, 1)).to(
        torch.uint8
    )
    scenes = LesionDataset(
        images=images, labels=[0, 1], groups=["a", "b"], identifiers=["a", "b"],
        classes=("x", "y"), masks=masks,
    )  # fmt: skip

    def camera(demosaicing):
        sensor = optics.Sensor(
            1e7, read_noise=0.01, bit_depth=None, cfa="rggb", demosaicing=demosaicing
        )
        return joint.ImagingSystem(sensor=sensor)

    mosaic = camera("none")
    for plane in ("measurement", "handed"):
        found = measure_contrast(scenes, system=mosaic, plane=plane)
        assert found.gcnr.tolist() == [1, 1]
        if size == (48, 48):
            same = measure_contrast(scenes, system=camera("packed"), plane=plane)
            assert torch.equal(found.weber, same.weber)
            assert torch.equal(found.rms, same.rms)
    output = mosaic(images / 255.0)
    with pytest.raises(ValueError, match=r"a mosaic of colours, .* mosaic=sensor\.cfa\.period"):
        contrast_at(output, masks, plane="measurement")
    told = contrast_at(output, masks, plane="measurement", mosaic=mosaic.sensor.cfa.period)
    assert told.gcnr.tolist() == [1, 1]
    assert contrast_at(output, masks, plane="irradiance").gcnr.tolist() == [1, 1]


def test_a_mosaic_of_binned_light_is_measured_with_its_own_part_of_the_masks():
    # 23 pixels to 46 of the scene, and 22 of them are whole periods: 44 of the scene.
    class Binned(optics.FrontEnd):
        in_channels = out_channels = 3
        exposures = 1

        def forward(self, scene):
            return optics.bin_pixels(scene, 2) / 4

        def throughput(self):
            return torch.ones(())

        def combine(self, raw):
            return raw

    masks = torch.zeros(1, 46, 46, dtype=torch.bool)
    masks[:, 20:36, 20:36] = True
    images = torch.where(masks[:, None], 0.2, 0.8).expand(-1, 3, -1, -1)
    sensor = optics.Sensor(1e7, read_noise=0.01, bit_depth=None, cfa="rggb", demosaicing="none")
    system = joint.ImagingSystem(front_end=Binned(), sensor=sensor).eval()
    whole, part = (
        contrast_at(
            system(images[..., :size, :size], generator=torch.Generator().manual_seed(0)),
            masks[:, :size, :size],
            plane="measurement",
            mosaic=(2, 2),
        )
        for size in (46, 44)
    )
    assert whole.gcnr.tolist() == part.gcnr.tolist() == [1]
    assert torch.allclose(whole.weber, part.weber, rtol=1e-3)
