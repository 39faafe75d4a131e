# The small studies, for all tests of studies.
from studies import (  # noqa: F401 - fixtures
    cheap,
    draws_of,
    finished,
    forked,
    leave,
    ledger,
    outcome,
    pretend,
    raced,
    small_base,
    small_study,
    worked_on,
    world,
)
