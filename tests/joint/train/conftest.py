import json

import pytest
from small import OBJECTIVE, _settings, full_system

from joint.train.identity import identity_of


@pytest.fixture
def identity(lesions, others):
    """Of a small run, as it comes back from a file."""

    def made(objective=OBJECTIVE, **changes):
        config = _settings(**{"epochs": 4, "schedule": "constant"} | changes)
        system = full_system()
        return json.loads(
            json.dumps(identity_of(system, objective, config, lesions, others, teacher=None))
        )

    return made
