import numpy as np
import pytest
import torch

from classify.data import LesionDataset, LesionPhantom
from classify.data.scan import scan


def make(images, encoding=None):
    names = [str(row) for row in range(len(images))]
    return LesionDataset(
        images=images,
        labels=[0] * len(images),
        groups=names,
        identifiers=names,
        encoding=encoding,
    )


def noise(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def deep(images, factor=257):
    return torch.from_numpy(images.numpy().astype(np.uint16) * factor)


def test_pictures_of_several_sets_are_numbered_together():
    images, more = noise(4, 3, 16, 16), noise(3, 3, 16, 16, seed=1)
    more[1] = images[2]
    images[3] = images[0]
    assert scan(make(images), make(more)).content.tolist() == [0, 1, 2, 0, 3, 2, 4]
    both = scan(make(images), make(more)).small.coarse
    alone = [scan(make(each)).small.coarse for each in (images, more)]
    assert torch.equal(both, torch.cat(alone))


def test_8_bits_are_the_16_of_the_same_light():
    images = noise(4, 3, 16, 16)
    images[3] = 7
    found = scan(make(images), make(deep(images)))
    assert found.content.tolist() == 2 * [0, 1, 2, 3]
    assert found.blank.tolist() == 2 * [False, False, False, True]
    assert torch.equal(found.small.coarse[:4], found.small.coarse[4:])


def test_light_and_codes_of_it_are_compared_as_codes():
    light, codes = (LesionPhantom(6, 32, bit_depth=16, encoding=e) for e in ("linear", "srgb"))
    small = scan(light, codes).small.coarse
    assert (small[:6] - small[6:]).abs().max() < 0.2  # of 255: light of 16 bits is exact enough
    unsaid = scan(light.taken_as(None), codes).small.coarse  # nobody knows
    assert (unsaid[:6] - unsaid[6:]).abs().max() > 20


def test_colours_become_grey_beside_grey():
    from PIL import Image

    images = noise(3, 3, 20, 20)
    grey = np.stack(
        [np.array(Image.fromarray(each.permute(1, 2, 0).numpy()).convert("L")) for each in images]
    )
    small = scan(make(images), make(torch.from_numpy(grey)[:, None])).small.coarse
    assert small.shape == (6, 1, 20, 20)
    assert (small[:3] - small[3:]).abs().max() <= 1  # Pillow's are whole codes
    as_colours = torch.from_numpy(grey)[:, None].expand(-1, 3, -1, -1).contiguous()
    equal = scan(make(images), make(as_colours))
    assert torch.allclose(equal.small.coarse, small, atol=1e-3)
    assert scan(make(as_colours), make(as_colours)).small.coarse.shape == (6, 3, 20, 20)
    as_colours[1, 0, 3, 3] ^= 1  # one colour is enough
    assert scan(make(images), make(as_colours)).small.coarse.shape == (6, 3, 20, 20)
    with pytest.raises(ValueError, match="pictures of 3 and 4 channels cannot be compared: give"):
        scan(make(images), make(noise(2, 4, 20, 20)))


def test_sizes_are_reduced_to_what_all_have():
    small = scan(make(noise(2, 3, 40, 64)), make(noise(2, 3, 12, 30))).small
    assert small.coarse.shape == small.fine.shape == (4, 3, 12, 12)
    # As many bytes of another form are another picture.
    images = torch.full((1, 1, 16, 32), 5, dtype=torch.uint8)
    assert scan(make(images), make(images.mT)).content.tolist() == [0, 1]
    with pytest.raises(ValueError, match=r"at least 8 pixels a side, got \(7, 8\)"):
        scan(make(noise(1, 3, 9, 9)), make(noise(1, 3, 7, 8)))
