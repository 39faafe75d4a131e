import pytest
import torch
from safetensors.torch import save_file

import joint


def test_a_classifier_of_colours_is_not_given_a_mosaic(tmp_path):
    def built(demosaicing, weights=None):
        sensor = joint.SensorConfig(cfa="rggb", demosaicing=demosaicing)
        judge = joint.ClassifierConfig(weights=weights)
        system = joint.SystemConfig(
            front_end=joint.NoneConfig(), sensor=sensor, codec=joint.NoneConfig(), classifier=judge
        )
        return joint.build_system(system, image_size=(32, 32), channels=3, classes=5)

    path = tmp_path / "colour.safetensors"
    save_file(built("bilinear").state_dict(), path)
    for name, channels in (("packed", 4), ("none", 1)):
        said = rf"for 3 channels, but the sensor gives a mosaic of {channels}, .* random"
        with pytest.raises(ValueError, match=said):
            built(name, path)
        assert built("malvar", path).classifier.in_channels == 3
        own = tmp_path / f"{name}.safetensors"
        before = built(name)
        save_file(before.state_dict(), own)  # what was trained on such a mosaic goes on
        after = built(name, own).classifier.state_dict()
        assert all(torch.equal(after[k], v) for k, v in before.classifier.state_dict().items())


@pytest.mark.parametrize("demosaicing", ["bilinear", "packed"])
def test_a_file_of_weights_is_read_once(demosaicing, tmp_path, monkeypatch):
    sensor = joint.SensorConfig(cfa="rggb", demosaicing=demosaicing)
    system = joint.SystemConfig(sensor=sensor, codec=joint.NoneConfig())
    built = joint.build_system(system, image_size=(32, 32), channels=3, classes=5)
    path, reads = tmp_path / "own.pt", []
    torch.save(built.classifier.state_dict(), path)
    load = torch.load
    monkeypatch.setattr(torch, "load", lambda *a, **k: reads.append(a[0]) or load(*a, **k))
    begun = system.model_copy(update={"classifier": joint.ClassifierConfig(weights=path)})
    again = joint.build_system(begun, image_size=(32, 32), channels=3, classes=5)
    own = built.classifier.state_dict()
    assert all(torch.equal(own[k], v) for k, v in again.classifier.state_dict().items())
    assert reads == [path]
