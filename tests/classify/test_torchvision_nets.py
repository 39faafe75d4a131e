import torch
import torchvision
from judgeable import noise
from safetensors.torch import save_file

import classify


def test_it_is_torchvisions_model_between_normalisation_and_head(tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = torchvision.models.resnet18(weights=None, num_classes=5).eval()
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    ours = classify.backbone("resnet18", 5, weights=tmp_path / "weights.pth").eval()
    picture = noise(64)
    normalised = torchvision.transforms.functional.normalize(
        picture, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    )
    torch.testing.assert_close(ours(picture), theirs(normalised), rtol=1e-4, atol=1e-5)


def test_inception_sees_what_its_public_weights_expect(tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = torchvision.models.inception_v3(
            weights=None, transform_input=True, aux_logits=False, init_weights=False
        ).eval()
    save_file(theirs.state_dict(), tmp_path / "weights.safetensors")
    ours = classify.backbone("inception_v3", 1000, weights=tmp_path / "weights.safetensors").eval()
    picture = noise(96)
    normalised = torchvision.transforms.functional.normalize(
        picture, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    )
    with torch.no_grad():
        torch.testing.assert_close(ours(picture), theirs(normalised), rtol=1e-3, atol=1e-4)
