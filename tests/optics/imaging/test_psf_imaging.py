import pytest
import torch

import optics
from optics.front_end import check_scene
from optics.imaging.psf_imaging import PSFImaging


class _Shifted(PSFImaging):
    """Moves the picture by a column: a blur of one's own."""

    def __init__(self, *, channels=3, response=None, projection=None, colour=None):
        super().__init__(None, projection=projection, colour=colour, boundary="circular")
        self._see(None, response=response, channels=channels)

    def psf(self):
        return self._of_each(torch.eye(3)[1].expand(1, 1, 3) * torch.eye(3)[2][:, None] * 0.5)

    def forward(self, scene):
        check_scene(scene, self.in_channels)
        return self.lit(self.placed(scene).roll(1, -1))

    def throughput(self):
        return self.psf().sum((-2, -1)).mean()

    def combine(self, raw):
        return raw


def _lens(kind, **options):
    psf = torch.rand(5, 5, generator=torch.Generator().manual_seed(3))
    psf = psf / psf.sum()
    if kind == "even":
        return optics.IncoherentImaging(psf, **options)
    return optics.VaryingImaging(psf.expand(2, 2, 5, 5).contiguous(), rank=1, **options)


def test_what_stands_before_and_behind_any_blur():
    """Distortion first and then the blur; its picture gets the falloff, and then the colours."""
    projection = optics.Projection(radial=(0.1,), half_field=0.4)
    filters = optics.ColourFilters(torch.tensor([[0.5, 0.2, 0.1]]))
    colour = optics.ColourChannels(3, filters=filters)
    scene = torch.rand(2, 3, 12, 9, generator=torch.Generator().manual_seed(0))
    seen = _Shifted(projection=projection, colour=colour)(scene)
    moved = projection(scene).roll(1, -1) * projection.illumination((12, 9)).to(scene)
    expected = torch.einsum("dc,bchw->bdhw", colour.matrix, moved)
    torch.testing.assert_close(seen, expected)
    for kind in ("even", "varying"):
        plain, whole = _lens(kind), _lens(kind, projection=projection, colour=colour)
        image = plain(projection(scene)) * projection.illumination((12, 9)).to(scene)
        torch.testing.assert_close(whole(scene), colour(image))


@pytest.mark.parametrize("kind", ["even", "varying"])
def test_one_psf_is_that_of_all_channels_or_of_as_many_as_respond_to_it(kind):
    assert _lens(kind).in_channels == 3
    assert _lens(kind, channels=5).in_channels == 5
    response = torch.tensor([[1.0], [0.25]])
    lens = _lens(kind, spectral_response=response)
    assert lens.in_channels == 2
    psf = lens.psf().reshape(-1, 2, 5, 5)
    torch.testing.assert_close(psf[:, 1], 0.25 * psf[:, 0])
    torch.testing.assert_close(psf.sum((-2, -1)), response.T.expand(len(psf), 2))
    with pytest.raises(ValueError, match="channels=3, but the PSFs and their response make 2"):
        _lens(kind, spectral_response=response, channels=3)
    with pytest.raises(ValueError, match=r"spectral_response must be \[C, 1\]"):
        _lens(kind, spectral_response=torch.full((2, 3), 0.1))


@pytest.mark.parametrize("kind", ["even", "varying"])
def test_parts_that_do_not_fit_are_refused(kind):
    with pytest.raises(ValueError, match="boundary must be one of"):
        _lens(kind, boundary="nowhere")
    with pytest.raises(TypeError, match=r"projection must be an optics\.Projection"):
        _lens(kind, projection=0.1)
    with pytest.raises(TypeError, match=r"colour must be an optics\.ColourChannels"):
        _lens(kind, colour=optics.ColourChannels)
    filters = optics.ColourFilters(torch.full((2, 4), 0.2))
    colour = optics.ColourChannels(4, filters=filters)
    with pytest.raises(ValueError, match="colour has 4 bands, but the PSFs have 3"):
        _lens(kind, colour=colour)
    with pytest.raises(ValueError, match="a spectral_response assumes one PSF for each channel"):
        _lens(kind, colour=colour, spectral_response=torch.full((4, 1), 0.2))
    with pytest.raises(ValueError, match=r"takes scenes \[B, 3, H, W\], not \(3, 8, 8\)"):
        _lens(kind)(torch.rand(3, 8, 8))
    with pytest.raises(ValueError, match="mtf needs a Pupil"):
        _lens(kind).mtf(torch.zeros(1))
    with pytest.raises(ValueError, match="distances need a Pupil: a fixed PSF has one depth"):
        _lens(kind, working_distances=(0.5,))
    for asked in (
        lambda lens: lens.psf(distance=0.5),
        lambda lens: lens(torch.rand(1, 3, 8, 8), distance=0.5),
        lambda lens: lens(torch.rand(0, 3, 8, 8), distance=0.5),
        lambda lens: lens.at(0.5).__enter__(),
    ):
        with pytest.raises(ValueError, match="distances need a Pupil: a fixed PSF has one depth"):
            asked(_lens(kind))


def test_a_blur_of_ones_own_has_psfs_of_each_channel():
    assert _Shifted(channels=2).psf().shape == (2, 3, 3)
    assert _Shifted(channels=None, response=torch.full((4, 1), 0.5)).psf().shape == (4, 3, 3)
    assert float(_Shifted(response=torch.full((3, 1), 0.5)).throughput()) == pytest.approx(0.25)
