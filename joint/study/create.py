"""A study is written into its folder, before its first run.

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

from .ahead import check_ahead, check_labels
from .axis import Design
from .race import called_first
from .requirements import check_reached
from .sampler import Search
from .space import Pair, Study, levels_shown
from .store import (
    FORMAT,
    RUNS_FOLDER,
    STUDY_FILE,
    Ledger,
    PlannedRun,
    StudyError,
    open_study,
    seal,
    seeded,
    write_new,
)

__all__ = ["create_study", "write_study"]


def create_study(study: Study, folder: Path | str, *, earlier: Path | str | None = None) -> Ledger:
    """Write a study into a folder, before its first run; if it is there already, open it.

    Parameters
    ----------
    study : Study
        What is asked, and how it will be judged.
    folder : path
        Of the new study.
    earlier : path, optional
        Folder of another study: the runs that both have and that are done there are copied, so
        that more levels or seeds cost their own runs alone. How many they are is recorded, and a
        report says so: a plan that is made after runs is no plan of them. Of a search, those of its
        first round; of a race, those that it calls. Where the study is there already, nothing is
        copied, which is said.

    Returns
    -------
    Ledger

    Raises
    ------
    StudyError
        When the folder holds another study, or this one with other axes, seeds or plan; when there
        is no earlier study in the folder that is named.
    ConfigError, ValueError
        When designs are no valid configurations, two are the same one, the constraints exclude all,
        or a planned comparison meets no designs, those of another one, or two that are tested on
        different pictures; when the plan judges by a class that the scenes do not have, where the
        configuration tells, or bounds a metric by what that never is; when an axis or a formula
        sets what is inside of a value of another axis, or a value has the seed of the run; when the
        plan or the search goes by a number that the designs do not have; when the objective weighs,
        or a run is monitored by, what a design does not have; when a class of one's own does not
        take its init_args, or a cost has a value in no design.
    CheckpointError
        When a run of the earlier study that would be copied has a result or scores that are damaged
        or of another run; nothing is copied then, or of a race what it called before.

    Warns
    -----
    UserWarning
        When an earlier study has runs that this one, which is there already, lacks; when the
        planned comparisons cannot be shown with so few seeds; when a classifier that was
        never trained learns in no epoch; when a lens of a design has a PSF wider than its window;
        when the values of an axis are whole tables that leave out what the base sets there; when so
        many draws were repeats that levels with few designs have a smaller share.
    """
    if not (Path(folder) / STUDY_FILE).exists():
        check_labels(study)
        check_reached(study.plan.requirements)
    return write_study(study, folder, earlier=earlier)


def write_study(study: Study, folder: Path | str, *, earlier: Path | str | None = None) -> Ledger:
    """As :func:`create_study`, of a study whose axes were written before and are fixed."""
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
    check_ahead(study, designs, configs, pairs)
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
        # A plan that is made after runs is no plan, and a report must be able to say so.
        "done_before": ledger.tally().done,
    }
    if not write_new(folder / STUDY_FILE, content):
        return write_study(study, folder)  # somebody else was faster
    return ledger


def _tell_left(earlier: Ledger, ledger: Ledger) -> None:
    """Warn of runs that could have been copied before the study was written."""
    states = zip(ledger.runs, ledger.states(), strict=True)
    left = sum(state == "pending" and is_done(earlier.path(run)) for run, state in states)
    if left:
        caution(
            f"{ledger.folder} is a study already, which is fixed: {left} of its runs are done in "
            f"{earlier.folder}, and are trained again. Give the study a new folder to take them",
        )


def _copy_done(earlier: Ledger, ledger: Ledger) -> Ledger:
    """Copy the runs of an earlier study that are done and wanted here too, each whole or not.

    By those a race may decide, and want more of them.
    """
    while True:
        _copy_of(earlier, ledger)
        more = ledger.refreshed()
        if more is ledger:
            return ledger
        ledger = more


def _copy_of(earlier: Ledger, ledger: Ledger) -> None:
    root = ledger.folder / RUNS_FOLDER
    done = [r for r in ledger.runs if not ledger.path(r).exists() and is_done(earlier.path(r))]
    for run in done:  # a report of the copies would end by it
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
                if not is_done(target):  # nor has somebody else copied it meanwhile
                    raise


def _check_measured(
    study: Study, designs: Sequence[Design], configs: Sequence[RunConfig], pairs: Sequence[Pair]
) -> None:
    """Refuse a study that would be judged, or led, by what its designs do not have."""
    sampler, plan = study.sampler, study.plan
    wanted = [plan.metric, *plan.requirements.metrics()]
    wanted += sampler.objectives if isinstance(sampler, Search) else ()
    decides = study.race and (study.race.metric or plan.metric)
    wanted += [decides] if decides else []
    paths = [path for axis in study.axes for path in study.sets(axis)]
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
                f"that term, objective.terms.{term}, with weight 0 to measure it alone"
            )
    for metric in wanted:
        stage = stage_of(metric)
        if stage is None:
            continue
        lack = [isinstance(getattr(config.system, stage), NoneConfig) for config in configs]
        # A search may come to other designs than those of its first round.
        differ = any(path in ("system", f"system.{stage}") for path in paths)
        if all(lack) and not (isinstance(sampler, Search) and differ):
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
                    f"the plan compares {pair.name} by {metric}, and one of the two has no "
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
                f"the designs {designs[same]} and {designs[number]} are one configuration: exclude "
                "one of them by a constraint"
            )
    return tuple(
        PlannedRun(seeded(config, seed).digest(), number, seed)
        for seed in study.seeds
        for number, config in enumerate(configs)
    )


def _check_pairs(pairs: Sequence[Pair]) -> None:
    """Refuse a plan that pays twice for one question."""
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
            "choose another folder, and name this one as the earlier study (study run --earlier): "
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
