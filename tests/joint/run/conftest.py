import pytest
from phantom_runs import CLASSIFIER, CODEC, config_of

import joint
from joint.run.complete import complete_run


@pytest.fixture(scope="session")
def parts():
    config = config_of(**CODEC)
    return joint.build_split(config, joint.build_data(config.data))


@pytest.fixture(scope="session")
def codec(parts, tmp_path_factory):
    """A codec and the folder of its run; no test changes them."""
    folder = tmp_path_factory.mktemp("runs") / "codec"
    return complete_run(config_of(**CODEC), parts, folder, resamples=10, progress=False), folder


@pytest.fixture(scope="session")
def teacher(parts, tmp_path_factory):
    """A run of a classifier that sees the scenes, and its folder; no test changes them."""
    folder = tmp_path_factory.mktemp("runs") / "teacher"
    return complete_run(config_of(**CLASSIFIER), parts, folder, resamples=0, progress=False), folder
