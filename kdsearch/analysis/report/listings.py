"""What the lists of studies and of trials say, a row each."""

from collections.abc import Sequence

from kdsearch.analysis.labels import (
    NOTHING,
    duration_text,
    factor_label,
    level_text,
    number_text,
    points_text,
    value_text,
)
from kdsearch.analysis.report.tables import ALWAYS, FAILED_TITLE, Heading, Table
from kdsearch.spec import TEMPERATURE
from kdsearch.storage import StudySummary, TrialRow


def studies_table(studies: Sequence[StudySummary]) -> Table:
    """Return the list of studies."""
    has_diverged = any(study.progress.diverged for study in studies)
    headings = [
        Heading("study", kind="word", worth=ALWAYS),
        Heading("state", kind="word", worth=ALWAYS),
        Heading("finished", "trials that are complete, pruned or diverged", worth=9),
        Heading("of", "trials that it is to have", worth=9),
        Heading("running", worth=4),
        *([Heading("diverged", "of those that finished", worth=4)] if has_diverged else []),
        Heading("failed", FAILED_TITLE, worth=4),
        Heading("setups", worth=3),
        Heading("time", "for how long drivers have run it", worth=3),
        Heading("CPU time", worth=2),
        Heading("GPU time", worth=2),
        Heading("created", "UTC", "word", worth=1),
        Heading("driver", "the process that runs it", "word", worth=3),
        Heading("why", kind="prose", worth=5),
    ]
    return Table(headings, [_study_row(study, has_diverged=has_diverged) for study in studies])


def trials_table(trials: Sequence[TrialRow]) -> Table:
    """Return the trials as a table.

    Each factor of the setup and each parameter has a column.
    """
    factors = list(dict.fromkeys(path for trial in trials for path in trial.setup))
    tuned = [p for p in dict.fromkeys(path for trial in trials for path in trial.params) if p not in factors]
    is_told = any(trial.reason for trial in trials)
    headings = [
        Heading("#", worth=ALWAYS),
        Heading("state", kind="word", worth=ALWAYS),
        *(Heading(factor_label(path), path, "word") for path in factors),
        *(Heading(factor_label(path), path, worth=8 if path == TEMPERATURE else 4) for path in tuned),
        Heading("epochs", worth=3),
        Heading("val %", "validation accuracy", worth=8),
        Heading("test %", "test accuracy", worth=2),
        Heading("time", "wall time over the pack's size", worth=1),
        *([Heading("reason", kind="prose", worth=5)] if is_told else []),
    ]
    return Table(headings, [_trial_row(trial, factors, tuned, is_told=is_told) for trial in trials])


def _study_row(study: StudySummary, *, has_diverged: bool) -> list[str]:
    done = study.progress
    hours = (study.hours.wall, study.hours.cpu, study.hours.gpu)
    return [
        *(study.name, study.state),
        *map(str, (done.finished, done.target, done.running)),
        *([str(done.diverged)] if has_diverged else []),
        *map(str, (done.failed, study.setups)),
        *(duration_text(own) if own else NOTHING for own in hours),
        f"{study.created:%Y-%m-%d %H:%M}",
        f"{study.driver.host}, process {study.driver.pid}" if study.driver else NOTHING,
        study.why or "",
    ]


def _trial_row(trial: TrialRow, factors: Sequence[str], tuned: Sequence[str], *, is_told: bool) -> list[str]:
    params = {**trial.setup, **trial.params}
    return [
        *(str(trial.number), trial.state),
        *(level_text(path, trial.setup[path]) if path in trial.setup else NOTHING for path in factors),
        *(value_text(params[path]) if path in params else NOTHING for path in tuned),
        NOTHING if trial.epochs is None else str(trial.epochs),
        *(points_text(trial.val_accuracy), points_text(trial.test_accuracy)),
        NOTHING if trial.seconds is None else f"{number_text(trial.seconds, 2)} s",
        *([trial.reason or ""] if is_told else []),
    ]
