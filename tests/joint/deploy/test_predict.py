import json
import shutil
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

import classify
import joint
from joint.cli import main
from joint.deploy.predict import Prediction

_SMALL = [
    "--data.image-size", "24", "--training.epochs", "1", "--quiet",
    "--front-end", "none", "--codec", "none",
]  # fmt: skip


def _pictures(folder, seed=0, depth=8):
    """Class folders of pictures of two sizes, neither of them square."""
    random = np.random.default_rng(seed)
    for name, mean in (("fine", 90), ("pit", 160)):
        for number in range(12):
            size = (30, 44, 3) if number % 2 else (50, 36, 3)
            codes = random.normal(mean, 25, size).clip(0, 255).astype(np.uint8)
            path = folder / name / f"{name}{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            if depth == 16:
                Image.fromarray(codes[..., 0].astype(np.uint16) * 16).save(path)
            else:
                Image.fromarray(codes).save(path)
    return folder


@pytest.fixture(scope="module")
def clinic(tmp_path_factory):
    return _pictures(tmp_path_factory.mktemp("clinic") / "train")


@pytest.fixture(scope="module")
def run(tmp_path_factory, clinic):
    """A run whose data are gone; its camera is noisy."""
    place = tmp_path_factory.mktemp("predict")
    data = shutil.copytree(clinic, place / "gone")
    folder = place / "run"
    noisy = ["--system.sensor.photons", "60"]
    assert main(["train", "--output", str(folder), "--data", str(data), *_SMALL, *noisy]) == 0
    shutil.rmtree(data)
    return folder


def test_a_system_comes_back_without_its_data(run, clinic):
    system = joint.load_system(run)
    assert system.classes == ("fine", "pit")
    assert not any(module.training for module in system.modules())
    with pytest.raises(FileNotFoundError):
        joint.load_run(run)
    data = joint.ClassFolders(root=clinic, image_size=24)
    with_data = joint.load_run(run, data=data)[1]
    assert joint.load_system(str(run)).state_dict().keys() == with_data.state_dict().keys()
    for ours, theirs in zip(
        system.state_dict().values(), with_data.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs)


def test_what_is_said_is_what_an_evaluation_says(tmp_path, clinic):
    """Decoded as the training's pictures: without noise the numbers are the same."""
    folder = tmp_path / "run"
    quiet = ["--sensor", "none", "--data.geometry", "squeeze", "--data.channels", "1"]
    assert main(["train", "--output", str(folder), "--data", str(clinic), *_SMALL, *quiet]) == 0
    own = _pictures(tmp_path / "own", seed=1)
    dataset = classify.ImageFolder(own, image_size=24, geometry="squeeze", channels=1)
    for views in ("identity", "dihedral"):
        wanted = joint.evaluate(joint.load_system(folder), dataset, views=views).logits
        said = joint.predict(folder, [own], views=views, batch_size=7)
        assert [each.name for each in said] == list(dataset.identifiers)
        found = np.array([each.probabilities for each in said])
        np.testing.assert_allclose(found, torch.from_numpy(wanted).softmax(1), rtol=1e-4, atol=1e-6)
    assert {each.classes for each in said} == {("fine", "pit")}
    labels = [("fine", "pit")[row] for row in found.argmax(1)]
    assert [each.label for each in said] == labels


def test_pictures_of_16_bits_are_read_as_those_of_the_training(tmp_path):
    data = _pictures(tmp_path / "deep", depth=16)
    folder = tmp_path / "run"
    deep = ["--data.bit-depth", "16", "--data.white-level", "4095", "--data.encoding", "linear"]
    deep += ["--data.channels", "1", "--sensor", "none", "--system.encoding", "linear"]
    assert main(["train", "--output", str(folder), "--data", str(data), *_SMALL, *deep]) == 0
    dataset = classify.ImageFolder(
        data, image_size=24, bit_depth=16, white_level=4095, encoding="linear", channels=1
    )
    wanted = joint.evaluate(joint.load_system(folder), dataset).logits
    found = np.array([each.probabilities for each in joint.predict(folder, [data])])
    np.testing.assert_allclose(found, torch.from_numpy(wanted).softmax(1), rtol=1e-4, atol=1e-6)
    # Those of 8 bits are refused, unless all are to be of 8.
    light = Image.open(next((data / "pit").glob("*.png")))
    eight = tmp_path / "eight.png"
    Image.fromarray(np.rint(np.asarray(light) / 16).astype(np.uint8)).save(eight)
    with pytest.raises(ValueError, match="give bit_depth=8 to reduce all pictures"):
        joint.predict(folder, eight)
    (said,) = joint.predict(folder, eight, bit_depth=8, white_level=65535)
    (kept,) = joint.predict(folder, light.filename)
    np.testing.assert_allclose(said.probabilities, kept.probabilities, rtol=0.01)
    with pytest.raises(ValueError, match="bit_depth must be 8, 16 or None"):
        joint.predict(folder, eight, bit_depth=12)


def test_colour_profiles_count_where_they_did_in_the_training(tmp_path, clinic):
    """Codes that are linear light are taken as they are, whatever the file says of them."""
    other = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    data = tmp_path / "profiled"
    for number, path in enumerate(sorted(clinic.rglob("*.png"))):
        kept = data / path.relative_to(clinic)
        kept.parent.mkdir(parents=True, exist_ok=True)
        Image.open(path).save(kept, icc_profile=other if number else None)
    folder = tmp_path / "run"
    linear = ["--data.encoding", "linear", "--sensor", "none", "--system.encoding", "linear"]
    assert main(["train", "--output", str(folder), "--data", str(data), *_SMALL, *linear]) == 0
    dataset = classify.ImageFolder(data, image_size=24, encoding="linear")
    wanted = joint.evaluate(joint.load_system(folder), dataset).logits
    found = np.array([each.probabilities for each in joint.predict(folder, [data])])  # no warning
    np.testing.assert_allclose(found, torch.from_numpy(wanted).softmax(1), rtol=1e-4, atol=1e-6)


def test_pictures_of_16_bits_are_told_where_the_training_had_8(run, tmp_path):
    """Without advice that predict cannot follow."""
    file = tmp_path / "deep.png"
    codes = np.random.default_rng(0).integers(0, 2**16, (30, 30), dtype=np.uint16)
    Image.fromarray(codes).save(file)
    with pytest.warns(UserWarning, match="is reduced to 8: the run was trained on 8 bits$"):
        joint.predict(run, [file])


@pytest.mark.filterwarnings("ignore:a picture of 16 bits is reduced to 8")
def test_a_camera_of_12_bits_has_a_white_level_of_its_own(run, clinic, tmp_path, capsys):
    """The advice of the warning can be followed: the picture is then that of 8 bits."""
    eight = np.asarray(Image.open(clinic / "pit" / "pit3.png"))[..., 0]
    for folder, codes in (("plain", eight), ("deep", np.rint(eight * (4095 / 255)))):
        (tmp_path / folder).mkdir()
        kind = np.uint8 if folder == "plain" else np.uint16
        Image.fromarray(codes.astype(kind)).save(tmp_path / folder / "a.png")
    file = tmp_path / "deep" / "a.png"
    said = r"nearly black: give white_level \(on the command line --white-level\), such as 4095, if"
    with pytest.warns(UserWarning, match=said):
        (dark,) = joint.predict(run, file)
    (expected,) = joint.predict(run, tmp_path / "plain" / "a.png")
    (found,) = joint.predict(run, file, white_level=4095)
    assert found.probabilities == expected.probabilities != dark.probabilities
    asked = ["predict", str(run), str(file), "--quiet", "--json", "--white-level"]
    assert main([*asked, "4095"]) == 0
    assert json.loads(capsys.readouterr().out) == [found.to_dict()]
    assert main([*asked, "0"]) == 2
    assert "--white-level must be a code of 16 bits, 1 to 65535, not 0" in capsys.readouterr().err
    with pytest.raises(ValueError, match="white_level must be a code of 16 bits, 1 to 65535"):
        joint.predict(run, file, white_level=70000)


def test_light_lost_at_a_distance_is_told(tmp_path, clinic):
    lens = ["--front-end", "lens", "--system.front-end.focus", "0.3", "--sensor", "none"]
    asked = ["train", "--output", str(tmp_path / "run"), "--data", str(clinic), *_SMALL, *lens]
    assert main(asked) == 0
    with pytest.warns(UserWarning, match=r"At 0\.12 m this PSF .* % of the light") as told:
        joint.predict(tmp_path / "run", clinic, distance=0.12, batch_size=3)
    assert len(told) == 1
    assert told[0].filename == __file__


@pytest.fixture(scope="module")
def drawn(tmp_path_factory, clinic):
    """A run that draws the light of each picture, and has no other noise."""
    folder = tmp_path_factory.mktemp("drawn") / "run"
    asked = ["train", "--output", str(folder), "--data", str(clinic), "--data.image-size", "24"]
    asked += ["--training.epochs", "1", "--quiet", "--front-end", "shutter", "--codec", "jpeg"]
    sensor = ["--system.sensor.photon-range", "100", "1000", "--system.sensor.read-noise", "0"]
    sensor += ["--system.sensor.shot-noise", "none", "--system.sensor.no-automatic-gain"]
    sensor += ["--system.sensor.bit-depth", "None", "--system.sensor.photons", "1000"]
    still = ["--system.front-end.motion", "0"]
    assert main([*asked, *sensor, *still]) == 0
    return folder


@pytest.mark.parametrize(
    ("point", "views"),
    [({"photons": 1000}, "identity"), ({"photons": 300.0, "quality": 10}, "mirror")],
)
def test_predictions_at_a_point_are_those_of_an_evaluation(drawn, clinic, point, views):
    """In one light and without noise: the names of files draw nothing."""
    dataset = classify.ImageFolder(clinic, image_size=24, channels=3)
    system = joint.load_system(drawn)
    judged = joint.evaluate(system, dataset, views=views, **point)
    wanted = torch.from_numpy(judged.logits).softmax(1)
    said = joint.predict(drawn, clinic, views=views, **point)
    found = np.array([each.probabilities for each in said])
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-5)
    as_built = np.array([each.probabilities for each in joint.predict(drawn, clinic, views=views)])
    assert np.abs(as_built - found).max() > 1e-3
    cold, warm = (
        np.array([p.probabilities for p in joint.predict(drawn, clinic, temperature=t, **point)])
        for t in (1.0, 4.0)
    )
    expected = torch.from_numpy(cold).log().div(4).softmax(1)
    np.testing.assert_allclose(warm, expected, rtol=1e-4)


def test_a_point_that_this_system_lacks_is_refused_as_by_evaluate(run, clinic):
    dataset = classify.ImageFolder(clinic, image_size=24, channels=3)
    for point in ({"quality": 3}, {"distance": 0.3}, {"motion": 1}):
        with pytest.raises(ValueError, match="the system has none") as told:
            joint.evaluate(joint.load_system(run), dataset, **point)
        with pytest.raises(ValueError, match="the system has none") as said:
            joint.predict(run, clinic, **point)
        assert str(said.value) == str(told.value)
    for wrong in (0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="temperature must be positive and finite, not"):
            joint.predict(run, clinic, temperature=wrong)
    rule = classify.DecisionRule(("fine", "pit"), 2.0)
    with pytest.raises(ValueError, match="a rule has its own temperature: leave temperature=3"):
        joint.predict(run, clinic, temperature=3, rule=rule)
    with pytest.raises(ValueError, match="the rule has the classes a, b but the scores have"):
        joint.predict(run, clinic, rule=classify.DecisionRule(("a", "b")))
    with pytest.raises(TypeError, match="call once for each photons"):
        joint.predict(run, clinic, photons=(1, 2))


def test_noise_is_that_of_the_name_of_a_file(run, clinic, tmp_path):
    whole = {each.name: each.probabilities for each in joint.predict(run, [clinic], batch_size=5)}
    file = clinic / "pit" / "pit3.png"
    (alone,) = joint.predict(run, [file])
    # Other sums, in another order, round otherwise.
    assert alone.probabilities == pytest.approx(whole["pit/pit3.png"], rel=1e-4)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(file, "deeper/pit3.png")
        archive.writestr("deeper/notes.txt", "no picture")
    (packed,) = joint.predict(str(run), [str(tmp_path / "a.zip")])
    assert packed.probabilities == alone.probabilities
    assert (packed.name, alone.name) == ("deeper/pit3.png", str(file))
    (other,) = joint.predict(run, [file], seed=1)
    assert abs(other.probabilities[0] - alone.probabilities[0]) > 1e-4


def test_masks_are_no_pictures(run, clinic, tmp_path):
    folder = tmp_path / "some"
    folder.mkdir()
    for name in ("a", "a_segmentation", "b_segmentation"):  # the last one is of no picture here
        shutil.copy(clinic / "pit" / "pit3.png", folder / f"{name}.png")
    assert [each.name for each in joint.predict(run, [folder])] == ["a.png", "b_segmentation.png"]
    assert len(joint.predict(run, [folder / "a_segmentation.png"])) == 1
    names = [each.name for each in joint.predict(run, [folder, clinic / "pit"])]
    assert names[0] == f"{folder}/a.png"
    assert names[-1].startswith(f"{clinic}/pit/pit")


def test_the_most_probable_class_comes_first():
    said = Prediction("a.png", ("x", "y", "z"), (0.2, 0.5, 0.3))
    assert said.label == "y"
    assert said.ranked() == [("y", 0.5), ("z", 0.3), ("x", 0.2)]


def test_a_broken_picture_does_not_stop_the_others(run, clinic, tmp_path, capsys):
    mixed = tmp_path / "mixed"
    shutil.copytree(clinic, mixed)
    expected = joint.predict(run, [mixed], batch_size=2)
    names = {"fine/fine00.png", "pit/a.png"}  # among the others
    (mixed / "pit/a.png").write_bytes(b"no picture")
    (mixed / "fine/fine00.png").write_bytes((mixed / "fine/fine0.png").read_bytes()[:99])
    told = []
    said = joint.predict(run, [mixed], batch_size=2, failed=lambda *file: told.append(file))
    assert said == expected
    assert {name for name, _ in told} == names
    assert all(reason for _, reason in told)
    with pytest.raises(ValueError, match=f"2 of {len(said) + 2} pictures cannot be used"):
        joint.predict(run, [mixed])
    # Of several folders, by the name that a prediction has.
    joint.predict(run, [mixed, clinic], failed=lambda *file: told.append(file))
    assert {name for name, _ in told[2:]} == {f"{mixed}/{name}" for name in names}
    table = tmp_path / "a.csv"
    assert main(["predict", str(run), str(mixed), "--quiet", "--csv", str(table)]) == 1
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == len(said)
    assert f"2 of {len(said) + 2} files could not be used:\n" in err
    assert len(table.read_text().splitlines()) == 1 + len(said)


def test_a_reason_that_pictures_share_is_told_once(run, tmp_path):
    for name in "abc":
        (tmp_path / f"{name}.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"3 of 3 .*: a\.png, b\.png, c\.png \(no picture") as told:
        joint.predict(run, [tmp_path])
    assert str(told.value).count("no picture") == 1


def test_one_path_is_one_path(run, clinic):
    file = clinic / "pit" / "pit3.png"
    for path in (clinic, file):
        for given in (path, str(path)):
            assert joint.predict(run, given) == joint.predict(run, [path])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"pictures": None}, "each of pictures must be a path, .* not NoneType"),
        ({"pictures": [3]}, "each of pictures must be a path, .* not int"),
        ({"pictures": torch.zeros(2, 3, 8, 8)}, "each of pictures must be a path, .* not Tensor"),
        ({"directory": None}, "directory must be a path, .* not NoneType"),
        ({"rule": "a.json"}, "rule must be a classify.DecisionRule, not str"),
        ({"failed": 3}, "failed must be a function of a name and a reason, not 3"),
    ],
)
def test_what_is_of_another_kind_is_named(run, given, message):
    with pytest.raises(TypeError, match=message):
        joint.predict(**{"directory": run, "pictures": "a.png", **given})


def test_what_cannot_be_predicted_is_told(run, clinic, tmp_path, capsys):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("nothing")
    for wrong, message in (
        (clinic / "none.png", "there is no .*none.png"),
        (tmp_path / "nowhere", "there is no .*nowhere: give pictures"),
        (tmp_path / "empty", "there is no picture"),
        (tmp_path / "notes.txt", r"notes\.txt is neither a picture .* nor a folder or a zip"),
        (tmp_path / "broken.png", r"1 of 1 pictures cannot be used: .*broken\.png \(no picture"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            joint.predict(run, [wrong])
    assert main(["predict", str(run), str(tmp_path / "broken.png"), "--quiet"]) == 1
    assert "1 of 1 files could not be used" in capsys.readouterr().err
    assert main(["predict", str(run), str(clinic), "--csv", str(tmp_path), "--quiet"]) == 2
    assert "is a folder, name a file in it" in capsys.readouterr().err
    assert main(["predict", str(tmp_path), str(clinic)]) == 1
    assert "it is no run folder" in capsys.readouterr().err
    silent = tmp_path / "codec"
    settings = [
        "--data.count",
        "60",
        "--data.image-size",
        "16",
        "--training.epochs",
        "1",
        "--quiet",
    ]
    alone = ["--classifier", "none", "--objective.task", "0", "--objective.distortion", "1"]
    alone += ["--training.monitor", "loss"]
    assert main(["train", "--output", str(silent), *settings, *alone]) == 0
    with pytest.raises(joint.ConfigError, match="has no classifier and cannot label pictures"):
        joint.predict(silent, [clinic])


@pytest.mark.parametrize(
    ("scenes", "message"),
    [
        ({"channels": 5}, r"of 5 channels and 16 x 16 pixels, but picture files become square"),
        ({"size": (16, 24)}, r"of 3 channels and 16 x 24 pixels, but picture files become squa"),
        ({"encoding": "linear"}, "takes linear light, but the codes of picture files are sRGB"),
    ],
)
def test_scenes_that_no_file_is_one_of_are_told(scenes, message, tmp_path, clinic):
    size, channels = scenes.get("size", (16, 16)), scenes.get("channels", 3)
    random = torch.Generator().manual_seed(0)
    dataset = classify.LesionDataset(
        images=torch.randint(0, 255, (40, channels, *size), dtype=torch.uint8, generator=random),
        labels=[0, 1] * 20,
        groups=[f"{n}" for n in range(40)],
        identifiers=[f"{n}" for n in range(40)],
        classes=("a", "b"),
        encoding=scenes.get("encoding"),
    )
    classify.save_scenes(dataset, tmp_path / "scenes.npz")
    settings = ["--front-end", "none", "--codec", "none", "--training.epochs", "1", "--quiet"]
    settings += ["--system.encoding", scenes.get("encoding", "srgb")]
    asked = ["train", "--output", str(tmp_path / "run"), "--data", str(tmp_path / "scenes.npz")]
    assert main([*asked, *settings]) == 0
    with pytest.raises(joint.ConfigError, match=message):
        joint.predict(tmp_path / "run", [clinic])
