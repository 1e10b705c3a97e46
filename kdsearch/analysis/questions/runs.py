"""The answer from runs that exist, by the model of studies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kdsearch.analysis.questions.best import BestAnswer, SetupAnswer, best_of
from kdsearch.analysis.questions.decision import ENOUGH_TO_DECIDE
from kdsearch.analysis.response.fitted import ResponseCurve, fit_response, response_curves
from kdsearch.analysis.shown import Shown
from kdsearch.analysis.threads import one_blas_thread
from kdsearch.intervals import LEVEL, TOLERANCE
from kdsearch.runs import Asked, Runs
from kdsearch.spec import TEMPERATURE, Setup, setup_key
from kdsearch.storage import TrialRow

if TYPE_CHECKING:
    import optuna
    import plotly.graph_objects as go

    from kdsearch.analysis.report.tables import Table


@dataclass(frozen=True, repr=False)
class RunsAnswer(Shown):
    """The best temperature of every setup of some runs.

    `read` tells how they were read. `notes` hold for all setups; `curves` and `trials` are what a figure
    shows.
    """

    answer: BestAnswer
    read: Mapping[str, Any]
    notes: tuple[str, ...]
    curves: list[ResponseCurve]
    trials: list[TrialRow]

    def to_dict(self) -> dict[str, Any]:
        """Return the document of `kdsearch best --format json`.

        How the runs were read is in it.
        """
        return {**self.answer.to_dict(), "notes": list(self.notes), "read": dict(self.read)}

    def table(self) -> "Table":
        """Return the answers as a table, with notes."""
        table = self.answer.table()
        return replace(table, notes=[*(("all", note) for note in self.notes), *table.notes])

    def rows(self) -> list[dict[str, Any]]:
        """Return the answers as flat rows."""
        return self.answer.rows()

    def figure(self) -> "go.Figure":
        """Return the figure of accuracy over temperature, a panel for each setup."""
        from kdsearch.analysis.report.plots import plot_response

        return plot_response(self.curves, self.trials, self.answer)


@one_blas_thread
def answer_runs(
    runs: Runs, *, level: float = LEVEL, tolerance: float = TOLERANCE, seed: int = 0
) -> RunsAnswer:
    """Return the best temperature per setup of runs that exist.

    Setups with enough runs to be decided share one model, as those of a study do. One with fewer is answered
    by its own runs alone: what is unrelated may stand in one file, and would else decide instead of them.

    Args:
        runs: The runs.
        level: Probability of the intervals, between 0 and 1.
        tolerance: What counts as near the best, as a fraction of accuracy.
        seed: Fixes the draws that the answers are computed from.
    """
    found: dict[str, SetupAnswer] = {}
    curves: dict[str, ResponseCurve] = {}
    luck: dict[str, None] = {}
    for group in _groups(runs):
        response = fit_response(runs.spec(group), runs.of(group), seed=seed)
        answer = best_of(response, runs.of(group), level=level, tolerance=tolerance)
        luck |= dict.fromkeys(answer.luck)
        own = set(map(setup_key, group))
        found |= {key: a for a in answer.setups if (key := setup_key(a.setup)) in own}
        curves |= {
            key: c for c in response_curves(response, level=level) if (key := setup_key(c.setup)) in own
        }
    keys = list(map(setup_key, runs.setups))
    answers = [_with_doubts(runs, found[key]) for key in keys]
    shared = _shared_notes(answers)
    answers = [replace(a, warnings=tuple(w for w in a.warnings if w not in shared)) for a in answers]
    return RunsAnswer(
        BestAnswer(runs.name, level, tolerance, answers, luck=tuple(luck)),
        runs.read,
        (*runs.notes, *shared),
        [curves[key] for key in keys],
        runs.trials,
    )


def best_of_optuna(
    study: "optuna.Study",
    temperature: str | None = None,
    setup: Sequence[str] = (),
    *,
    points: float | None = None,
    level: float = LEVEL,
    tolerance: float = TOLERANCE,
) -> BestAnswer:
    """Return the best temperature per setup of a plain Optuna study.

    Any sampler may have chosen its trials. Parameters that are neither the temperature nor in `setup` are
    tuned: at their best for each temperature. One that exists under some setups alone, such as `lr_sgd`, is
    so inside them.

    Args:
        study: The study; it maximises an accuracy, else `points` is needed.
        temperature: The temperature's parameter; guessed where its name is a usual one.
        setup: Parameters whose combinations are owed an answer each.
        points: What one percentage point of accuracy is in the objective's unit.
        level: Probability of the intervals, between 0 and 1.
        tolerance: What counts as near the best, as a fraction of accuracy.

    Raises:
        RequestError: A name is not of the study's parameters, or the objective is no accuracy.

    Example:
        `best_of_optuna(study, temperature="T", setup=["optimizer"]).setups[0].interval`
    """
    from kdsearch.runs.optuna_runs import runs_of_study

    asked = Asked(setup=(setup,) if isinstance(setup, str) else tuple(setup), temperature=temperature)
    runs = runs_of_study(study, asked, points=points)
    return answer_runs(runs, level=level, tolerance=tolerance).answer


def _groups(runs: Runs) -> list[list[Setup]]:
    """Return which setups share a model: those with enough runs. Each other one stands alone."""
    counts = {setup_key(setup): len(runs.complete(setup)) for setup in runs.setups}
    many = [
        s for s in runs.setups if counts[setup_key(s)] >= ENOUGH_TO_DECIDE and not _one_temperature(runs, s)
    ]
    few = [s for s in runs.setups if s not in many]
    return [*([many] if many else []), *([setup] for setup in few)]


def _one_temperature(runs: Runs, setup: Setup) -> float | None:
    """Return the only temperature of a setup's runs. None where there are several."""
    temperatures = {trial.params[TEMPERATURE] for trial in runs.complete(setup)}
    return next(iter(temperatures)) if len(temperatures) == 1 else None


def _with_doubts(runs: Runs, found: SetupAnswer) -> SetupAnswer:
    """Return an answer with what its runs leave open.

    Its parameters get their own columns' names.
    """
    alone = _one_temperature(runs, found.setup)
    if alone is not None:
        reason = f"all of its {found.trials} runs have T = {alone:g}: at least two temperatures are needed."
        counts = {kind: getattr(found, kind) for kind in ("trials", "diverged", "failed", "pruned")}
        return SetupAnswer(found.setup, **counts, reason=reason)
    names = runs.columns.get(setup_key(found.setup), {})
    params = None if found.params is None else {names.get(p, p): v for p, v in found.params.items()}
    notes = [] if found.reason else _few_seeds(runs.complete(found.setup))
    return replace(found, params=params, warnings=(*found.warnings, *notes))


def _few_seeds(complete: Sequence[TrialRow]) -> list[str]:
    places = {setup_key(trial.params) for trial in complete}
    if len(places) < len(complete):
        return []
    return [
        "No point was run twice: how far seeds scatter is inferred from how rough the curve is, not measured."
    ]


def _shared_notes(answers: Sequence[SetupAnswer]) -> list[str]:
    """Return the warnings that all answered setups share.

    A single one shares none.
    """
    told = [answer.warnings for answer in answers if answer.reason is None]
    return [note for note in told[0] if all(note in other for other in told)] if len(told) > 1 else []
