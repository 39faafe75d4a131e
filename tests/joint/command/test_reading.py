import re

import pytest

import joint
from joint.command.audit import read_audit_options
from joint.command.evaluate import read_evaluate_options
from joint.command.train import read_train_options
from joint.settings import OptionError


def test_a_kind_has_its_own_options_and_settles_what_follows():
    stages = ["--codec", "none", "--front-end", "fourier", "--system.front-end.start", "spiral"]
    options = read_train_options(["--output", "x", *stages, "--training.epochs", "3"])
    assert options.run.system.front_end == joint.FourierConfig(start="spiral")
    assert options.run.system.codec == joint.NoneConfig()
    assert (options.run.objective.rate, options.run.objective.distortion) == (0, 0)
    assert options.run.training.epochs == 3
    jpeg = read_train_options(["--output", "x", "--codec", "jpeg"]).run
    assert (jpeg.objective.rate, jpeg.objective.distortion) == (0, 10)
    assert read_train_options(["--output", "x"]).run == joint.RunConfig()


def test_a_camera_is_known_by_the_file_of_its_psf(tmp_path, capsys):
    psf = ["--front-end", "psf", "--system.front-end.file", str(tmp_path / "lens.npy")]
    more = ["--system.front-end.psf-size", "9", "--system.front-end.throughput", "0.9", "0.8", "1"]
    chosen = read_train_options(["--output", "x", *psf, *more]).run.system.front_end
    assert chosen == joint.PSFConfig(
        file=tmp_path / "lens.npy", psf_size=9, throughput=(0.9, 0.8, 1.0)
    )
    one = ["--front-end", "psf", "--system.front-end.throughput", "0.9"]
    trained = read_train_options(["--output", "x", *one, "--system.front-end.trained"])
    assert trained.run.system.front_end == joint.PSFConfig(throughput=0.9, trained=True)
    for wrong, said in (
        (["--system.front-end.psf-size", "8"], "--system.front-end.psf-size must be odd"),
        (["--system.front-end.file", "lens.txt"], "lens.txt must end in .npy, .tif, .tiff, .png"),
        (["--system.front-end.content", "picture"], "a picture does not show how much"),
    ):
        with pytest.raises(OptionError, match=re.escape(said)):
            read_train_options(["--output", "x", *psf, *wrong])
    with pytest.raises(SystemExit) as caught:
        read_train_options(["--output", "x", *psf, "--system.front-end.kernel-size", "3"])
    assert caught.value.code == 2
    assert "Unrecognized options" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "configured"),
    [
        ([], False),
        (["--resume", "--device", "cpu", "--quiet", "--json", "--tensorboard"], False),
        (["--start", "run", "--start-stages", "codec", "sensor", "--resume"], False),
        (["--training.epochs", "20"], True),
        (["--resume", "--training.epochs=20", "--quiet"], True),
        (["--front-end", "kernel"], True),
        (["--training.restore-best"], True),
        (["--teacher", "None"], True),
        (["--data", "None", "--resume"], False),
    ],
)
def test_an_option_at_its_default_is_asked_for(arguments, configured):
    options = read_train_options(["--output", "x", *arguments])
    assert options.run == joint.RunConfig()
    assert (options.given != {}) == configured


def test_whether_something_was_asked_for_is_no_option(capsys):
    with pytest.raises(SystemExit):
        read_train_options(["--output", "x", "--given"])
    assert "--given" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        read_train_options(["--help"])
    assert "--given" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("read", "said"),
    [
        # One paragraph: the docstring breaks the line between these words.
        (read_train_options, "ones; --config takes its configuration"),
        (read_train_options, "joint.fit adjusts"),
        (read_train_options, "T**2 * KL(softmax(teacher / T)"),
        (read_evaluate_options, "Part of the split of that run."),
        (read_audit_options, "the default of train is 64"),
    ],
)
def test_help_is_read_without_markup(read, said, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        read(["--help"])
    told = capsys.readouterr().out
    assert said in told
    assert "`" not in told
    assert not re.search(r":[a-z]+:", told)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--training.epoch", "3"], "--training.epochs"),
        (["--codec", "zip"], "hyperprior"),
        (["--training.epochs", "three"], "Error parsing --training.epochs"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(capsys, arguments, message):
    with pytest.raises(SystemExit) as caught:
        read_train_options(["--output", "x", *arguments])
    assert caught.value.code == 2
    error = capsys.readouterr().err.replace("│", " ")
    assert message in " ".join(error.split())


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("--training.epochs 0", "--training.epochs must be greater than or equal to 1, not 0"),
        ("--split.folds=2", "--split.folds must be greater than or equal to 3, not 2"),
        (
            "--split.folds 5 --split.fold 5",
            "--split.fold 5 does not exist: there are 5 folds, counted from 0",
        ),
        (
            "--split.fold 1",
            "--split.fold 1 does not exist: there are no folds, counted from 0",
        ),
        (
            "--split.fractions .5 .5 .5",
            "--split.fractions must sum to 1, but (0.5, 0.5, 0.5) sum to 1.5",
        ),
        (
            "--front-end psf",
            "--front-end psf without a file is a point, which blurs nothing: give "
            "--system.front-end.file, or --system.front-end.trained to learn from a point",
        ),
        (
            "--system.sensor.converter dithered --system.sensor.read-noise 0",
            "--system.sensor.converter dithered averages over the read noise, but "
            "--system.sensor.read-noise 0 e-; give electrons RMS above 0, or "
            "--system.sensor.converter straight_through",
        ),
        (
            "--objective.distillation 0.5",
            "--objective.distillation 0.5 needs a teacher: give teacher, a run folder "
            "(--teacher RUN), or --objective.distillation 0",
        ),
        (
            "--system.sensor.cfa xyzw",
            "--system.sensor.cfa must be four letters for 2 x 2 pixels, of r, g and b each at "
            "least once, such as rggb, not 'xyzw'",
        ),
    ],
)
def test_what_is_wrong_is_told_by_options_as_they_are_typed(arguments, line):
    with pytest.raises(OptionError) as caught:
        read_train_options(["--output", "x", *arguments.split()])
    assert str(caught.value) == (
        f"{line}\n  see lens2label train --help for what each option takes"
    )


def test_every_wrong_option_is_told_at_once():
    wrong = "--system.sensor.photons -3 --system.sensor.bit-depth 20 --training.epochs 0"
    with pytest.raises(OptionError) as caught:
        read_train_options(["--output", "x", *wrong.split()])
    lines = str(caught.value).split("\n  ")
    assert [line.split()[0] for line in lines] == [
        "--system.sensor.photons",
        "--system.sensor.bit-depth",
        "--training.epochs",
        "see",
    ]


def test_scenes_have_the_options_of_their_kind_in_every_command(tmp_path):
    table = tmp_path / "labels.csv"
    table.touch()
    given = [
        "--data.root",
        "p",
        "--data.label",
        "dx",
        "--data.group",
        "patient",
        "--data.limit",
        "9",
    ]
    given = ["--data", str(table), *given, "--data.classes", "b", "a"]
    trained = read_train_options(["--output", "x", *given]).run.data
    assert trained == joint.ImageTableConfig(
        table=table,
        root="p",
        label="dx",
        group="patient",
        limit=9,
        classes=("b", "a"),
        image_size=64,  # of the scenes that it starts from
    )
    size = ["--data.image-size", "64"]
    assert read_audit_options([*given, *size]).scenes.data == trained
    assert read_audit_options([*given, "--image-size", "64"]).scenes.data == trained
    assert read_audit_options(given).scenes.data.image_size == 128
    both = read_audit_options([*given, *size, "--image-size", "32", "--split.by", "image"])
    assert both.scenes.data == trained
    assert both.split.by == "image"
    assert read_audit_options([]).scenes.data == joint.PhantomConfig(image_size=128)
    options = read_evaluate_options(["run", *given], image_size=64)
    assert options.scenes.data == trained
    assert (str(options.run), options.data) == ("run", str(table))
    assert read_evaluate_options(["run"]).scenes is None


def test_an_option_of_a_mapping_replaces_that_of_the_configuration(tmp_path):
    lens = joint.LensConfig(zernike={4: 0.1})
    rates = joint.Training(learning_rates={"codec": 1e-4})
    config = joint.RunConfig(system=joint.SystemConfig(front_end=lens), training=rates)
    joint.save_config(config, tmp_path)

    def read(*words):
        run = read_train_options(["--output", "x", "--config", str(tmp_path), *words]).run
        return run.training.learning_rates, run.system.front_end.zernike

    assert read() == ({"codec": 1e-4}, {4: 0.1})
    assert read("--training.learning-rates.codec", "0.2") == ({"codec": 0.2}, {4: 0.1})
    several = ["sensor", "0.2", "codec", "0.1"]
    assert read("--training.learning_rates", *several)[0] == {"sensor": 0.2, "codec": 0.1}
    assert read("--system.front-end.zernike", "9", "-0.03") == ({"codec": 1e-4}, {9: -0.03})


def test_views_are_chosen_by_name_or_given_as_json(capsys):
    def chosen(*words):
        return read_train_options(["--output", "run", *words]).run.training.augmentation

    assert chosen() == "dihedral"
    assert chosen("--training.augmentation", "full") == "full"
    given = chosen("--training.augmentation", '{"turn": 20, "cutout": 0.3}')
    assert given == joint.Augmentation(turn=20, cutout=0.3)
    for wrong in ("dihedra", '{"turm": 20}'):
        with pytest.raises(SystemExit):
            chosen("--training.augmentation", wrong)
        assert "none, dihedral, full" in " ".join(capsys.readouterr().err.split())
