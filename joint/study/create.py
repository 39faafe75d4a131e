"""Write a study into its folder, before its first run.

::

    Study ─► designs, pairs ─ what would end every run, or show nothing? ─► study.json
                                                                    ▲
    an earlier study ─ runs that both have, and that are done ──copied ─► runs/<digest>/
"""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from joint.caution import caution
from joint.config.run import NoneConfig, RunConfig
from joint.judge.metric import TERM, is_term, stage_of
from joint.saved.folder import is_done
from joint.saved.lock import LOCK_FILE
from joint.settings import ConfigError

from .axis import Design
from .labels import check_labels
from .ledger import RUNS_FOLDER, Ledger, PlannedRun, StudyError
from .preflight import check_designs, check_draws
from .race_decision import called_first
from .requirements import check_reached
from .sampler import Search
from .space import Pair, Study, levels_shown
from .store import FORMAT, STUDY_FILE, open_study, refreshed, seal, seeded, write_new

__all__ = ["create_study", "write_study"]


def create_study(study: Study, folder: Path | str, *, earlier: Path | str | None = None) -> Ledger:
    """Write a study into a folder before its first run, or open it if it is there already.

    Parameters
    ----------
    study : Study
        Designs, seeds and plan.
    folder : path
        Folder of the new study.
    earlier : path, optional
        Folder of another study. Runs that both studies have and that are done there are copied, so
        that more levels or seeds need only their own runs. Their number is recorded and reported,
        because a plan made after runs is not a plan for them. For a search, runs of its first round
        are copied; for a race, runs that it calls. If the study is there already, nothing is
        copied, with a warning.

    Returns
    -------
    Ledger

    Raises
    ------
    StudyError
        When the folder holds another study, or this one with other axes, seeds or plan; when there
        is no study in the folder ``earlier``.
    ConfigError, ValueError
        When designs are not valid configurations, two are the same, or the constraints exclude all;
        when a planned comparison matches no designs, the same designs as another one, or two that
        are tested on different pictures; when the plan judges by a class that the scenes do not
        have, as far as the configuration says, or bounds a metric by an impossible value; when an
        axis or a formula sets a field inside a value of another axis, or a value contains the seed
        of the run; when the plan or the search uses a number that the designs do not have; when
        the objective weights, or training monitors, what a design does not have; when a user's
        class does not take its init_args, or a cost has a value in no design.
    CheckpointError
        When a run of the earlier study that would be copied has a damaged result or scores, or
        those of another run. Nothing is copied then; for a race, except what it called before.

    Warns
    -----
    UserWarning
        When the study is there already and lacks runs that an earlier study has; when the planned
        comparisons cannot be shown with so few seeds; when a classifier that was never trained
        learns in no epoch; when a lens of a design has a PSF wider than its window; when the values
        of an axis are whole tables that leave out what the base sets there; when so many draws were
        repeats that levels with few designs have a smaller share.
    """
    if not (Path(folder) / STUDY_FILE).exists():
        check_labels(study)
        check_draws(study)
        check_reached(study.plan.requirements)
    return write_study(study, folder, earlier=earlier)


def write_study(study: Study, folder: Path | str, *, earlier: Path | str | None = None) -> Ledger:
    """Same as :func:`create_study`, for a study whose axes were fixed before."""
    folder = Path(folder)
    if (folder / STUDY_FILE).exists():
        there = open_study(folder)
        _check_same(there, study)
        if earlier is not None:
            _tell_left(open_study(earlier), there)
        return there
    designs = study.designs()
    pairs = study.pairs(designs)
    _check_pairs(pairs)
    doubt = study.doubt(len(pairs))
    if doubt is not None:
        caution(doubt)
    configs = [study.config(design, study.seeds[0]) for design in designs]
    _check_measured(study, designs, configs, pairs)
    check_designs(study, designs, configs, pairs)
    runs = _runs(study, designs, configs)
    first = called_first(study.race, runs, study.seeds)
    ledger = Ledger(folder, study, designs, first, runs)
    if earlier is not None:
        ledger = _copy_done(open_study(earlier), ledger)
    fixed = {
        "study": study.model_dump(mode="json"),
        "designs": designs,
        "runs": [asdict(run) for run in runs],
    }
    content = {
        "format": FORMAT,
        **fixed,
        "seal": seal(fixed),
        # A plan made after runs is not a plan for them, so a report must be able to say so.
        "done_before": ledger.tally().done,
    }
    if not write_new(folder / STUDY_FILE, content):
        return write_study(study, folder)  # another process was faster
    return ledger


def _tell_left(earlier: Ledger, ledger: Ledger) -> None:
    """Warn of runs that could have been copied before the study was written."""
    states = zip(ledger.runs, ledger.states(), strict=True)
    left = sum(state == "pending" and is_done(earlier.path(run)) for run, state in states)
    if left:
        caution(
            f"{ledger.folder} already holds a study, which is fixed: {left} of its runs are done "
            f"in {earlier.folder}, and are trained again. Give the study a new folder to copy them",
        )


def _copy_done(earlier: Ledger, ledger: Ledger) -> Ledger:
    """Copy the finished runs of an earlier study that are wanted here too, each completely.

    They may decide a race, which then wants more of them.
    """
    while True:
        _copy_of(earlier, ledger)
        more = refreshed(ledger)
        if more is ledger:
            return ledger
        ledger = more


def _copy_of(earlier: Ledger, ledger: Ledger) -> None:
    root = ledger.folder / RUNS_FOLDER
    done = [r for r in ledger.runs if not ledger.path(r).exists() and is_done(earlier.path(r))]
    for run in done:  # a damaged copy would stop every report
        earlier.result(run)
        earlier.predictions(run)
    for run in done:
        source, target = earlier.path(run), ledger.path(run)
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".copied-", dir=root) as made:
            whole = Path(made) / run.digest
            shutil.copytree(source, whole, ignore=shutil.ignore_patterns(LOCK_FILE))
            try:
                whole.rename(target)
            except OSError:
                if not is_done(target):  # and no other process has copied it meanwhile
                    raise


def _check_measured(
    study: Study, designs: Sequence[Design], configs: Sequence[RunConfig], pairs: Sequence[Pair]
) -> None:
    """Refuse a study that is judged, or led, by something that its designs do not have."""
    sampler, plan = study.sampler, study.plan
    wanted = [plan.metric, *plan.requirements.metrics()]
    wanted += sampler.objectives if isinstance(sampler, Search) else ()
    decides = study.race and (study.race.metric or plan.metric)
    wanted += [decides] if decides else []
    for metric in filter(is_term, wanted):
        term = metric.removeprefix(TERM)
        lack = [
            number
            for number, config in enumerate(configs)
            if term not in ("total", *config.objective.weights)
        ]
        if lack:
            raise ConfigError(
                f"the design {levels_shown(designs[lack[0]])} has no {metric}: give its objective "
                f"that term, objective.terms.{term}, with weight 0 to measure it only"
            )
    for metric in wanted:
        stage = stage_of(metric)
        if stage is None:
            continue
        lack = [isinstance(getattr(config.system, stage), NoneConfig) for config in configs]
        # A search may reach designs beyond those of its first round.
        if all(lack) and not (isinstance(sampler, Search) and study.varies(f"system.{stage}")):
            raise ConfigError(
                f"no design has {metric}, as none has a {stage}: set system.{stage}, or choose "
                "another metric"
            )
        if metric == decides and any(lack):
            raise ConfigError(
                f"the race is decided by {metric}, and the design "
                f"{levels_shown(designs[lack.index(True)])} has no {stage}: choose another metric"
            )
        for pair in pairs if metric == plan.metric else ():
            if lack[pair.first] or lack[pair.second]:
                raise ConfigError(
                    f"the plan compares {pair.name} by {metric}, but one of the two has no "
                    f"{stage}: leave the comparison out, or choose another metric"
                )


def _runs(
    study: Study, designs: Sequence[Design], configs: Sequence[RunConfig]
) -> tuple[PlannedRun, ...]:
    known: dict[str, int] = {}
    for number, config in enumerate(configs):
        same = known.setdefault(config.digest(), number)
        if same != number:
            raise ConfigError(
                f"the designs {designs[same]} and {designs[number]} have the same configuration: "
                "exclude "
                "one of them by a constraint"
            )
    return tuple(
        PlannedRun(seeded(config, seed).digest(), number, seed)
        for seed in study.seeds
        for number, config in enumerate(configs)
    )


def _check_pairs(pairs: Sequence[Pair]) -> None:
    """Refuse a plan that asks the same question twice."""
    seen: dict[frozenset[int], Pair] = {}
    for pair in pairs:
        before = seen.setdefault(frozenset((pair.first, pair.second)), pair)
        if before is not pair:
            raise ValueError(
                f"the plan compares the same two designs twice ({before.name}; {pair.name}), and "
                "the correction for several comparisons would count both: leave one out"
            )


def _check_same(there: Ledger, study: Study) -> None:
    old, new = (s.model_dump(mode="json") for s in (there.study, study))
    changed = list(_changes(old, new, ""))
    if changed:
        more = f"; and {len(changed) - 3} more" if len(changed) > 3 else ""
        tally = there.tally()
        advice = (
            "choose another folder, and give this one as the earlier study (study run --earlier): "
            "the runs that both have are then copied"
            if tally.done or tally.running
            else "choose another folder, or delete this one: none of its runs is done"
        )
        raise StudyError(
            f"{there.folder} holds another study: {'; '.join(changed[:3])}{more}. A study is fixed "
            f"before its first run: {advice}"
        )


def _changes(old: object, new: object, place: str) -> list[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        found = []
        for key in dict.fromkeys((*old, *new)):
            inner = f"{place}.{key}" if place else str(key)
            if key not in old or key not in new:
                found.append(f"{inner} is {'new' if key in new else 'gone'}")
            else:
                found += _changes(old[key], new[key], inner)
        return found
    return [] if old == new else [f"{place} was {old!r} and is {new!r}"]
