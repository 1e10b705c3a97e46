"""The tables of a report or a page: headings and cells as text."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from kdsearch.analysis.labels import effect_label, factor_label, setup_names, temperature_text, value_text
from kdsearch.analysis.questions.best import BestAnswer, SetupAnswer
from kdsearch.analysis.questions.effects import TemperatureEffect
from kdsearch.analysis.questions.importance import Importance
from kdsearch.analysis.questions.outcomes import TemperatureBand
from kdsearch.analysis.response.profiles import Interval
from kdsearch.storage import TeacherRow

NOTHING = "–"


@dataclass(frozen=True)
class Heading:
    """A column's heading; `title` is shown on hovering."""

    text: str
    title: str = ""


@dataclass(frozen=True)
class Table:
    """A table as text; the column at `emphasis` stands out, `notes` are (setup, sentence)."""

    headings: list[Heading]
    rows: list[list[str]]
    emphasis: int | None = None
    notes: list[tuple[str, str]] = field(default_factory=list)


def answer_table(answer: BestAnswer) -> Table:
    """Return the answers as a table, with what to know of each setup as notes."""
    factors = list(answer.setups[0].setup) if answer.setups else []
    tuned = list(dict.fromkeys(path for found in answer.setups for path in found.params or ()))
    defaults = list(dict.fromkeys(t for found in answer.setups for t in found.regret_of or ()))
    level = f"{answer.level:.0%}"
    headings = [
        *(Heading(factor_label(path), path) for path in factors),
        Heading("best T", "the temperature with the highest expected accuracy"),
        Heading(f"{level} interval", f"holds what is nearly the best temperature with {level} probability"),
        Heading("near-optimal T", f"each within {100 * answer.tolerance:g} points of the best, {level} sure"),
        Heading(f"accuracy ({level})", "expected validation accuracy at the best temperature"),
        Heading("test accuracy", "mean of the nearest trials; took no part in the choice"),
        *(Heading(factor_label(path), f"{path} at the best temperature") for path in tuned),
        *(Heading(f"points lost at T\N{NO-BREAK SPACE}{t}", "expected accuracy lost") for t in defaults),
        Heading("trials", "complete trials that have a say"),
        Heading("failed", "diverged ones included"),
        Heading("pruned"),
    ]
    rows = [_answer_row(found, factors, tuned, defaults) for found in answer.setups]
    if any(found.forecast for found in answer.setups):
        loss = f"{100 * answer.target:g} points"
        headings.append(Heading("decided", f"earned by replicates, and expected to lose at most {loss}"))
        rows = [[*row, _decided(found)] for row, found in zip(rows, answer.setups, strict=True)]
    return Table(headings, rows, emphasis=len(factors), notes=_notes(answer))


def forecast_table(answer: BestAnswer) -> Table:
    """Return which setups are decided, and about what the others need."""
    target = f"{100 * answer.target:g} points"
    headings = [
        Heading("setup"),
        Heading("may lose, points", "expected loss of accuracy at the recommended temperature"),
        Heading("to go", f"complete trials until it is expected to lose at most {target}"),
        Heading("from, to", "so many at best and at worst"),
        Heading("hours", f"with {_two_digits(answer.slots)} packs at the same time, as many as ran so far"),
    ]
    names = setup_names([found.setup for found in answer.setups])
    rows = [[name, *_forecast_row(found)] for name, found in zip(names, answer.setups, strict=True)]
    return Table(headings, rows)


def _forecast_row(found: SetupAnswer) -> list[str]:
    forecast = found.forecast
    regret = None if forecast is None else forecast.regret
    lost = NOTHING if regret is None else f"{100 * regret:.2f}"
    if found.stopped:
        return [lost, "stopped", NOTHING, NOTHING]
    if forecast is None or regret is None:
        return [NOTHING] * 4
    more = forecast.more_trials
    if forecast.decided or more is None:
        return [lost, "decided" if forecast.decided else "undecided: see above", NOTHING, NOTHING]
    hours = NOTHING if forecast.hours is None else _two_digits(forecast.hours)
    return [lost, f"about {more[1]}", f"{more[0]} to {more[2]}", hours]


def _two_digits(value: float) -> str:
    return f"{value:.0f}" if value >= 99.5 else f"{value:.2g}"


def effect_table(answer: BestAnswer) -> Table:
    """Return temperature's effect with the other parameters retuned for each temperature, and kept."""
    defaults = list(dict.fromkeys(t for found in answer.setups for t in found.regret_of or ()))
    ways = {
        "retuned": "the other tuned parameters at their best for each temperature",
        "not retuned": "the other tuned parameters kept as recommended for the best temperature",
    }
    names = setup_names([found.setup for found in answer.setups])
    headings = [Heading("setup")]
    headings += [
        Heading(f"best over worst T, {way}", f"points gained ({answer.level:.0%}); {meaning}")
        for way, meaning in ways.items()
    ]
    headings += [
        Heading(f"lost at T\N{NO-BREAK SPACE}{t}, {way}", f"expected points; {meaning}")
        for t in defaults
        for way, meaning in ways.items()
    ]
    rows = []
    for name, found in zip(names, answer.setups, strict=True):
        effects = (found.effect, found.effect_at_common)
        regrets = (found.regret_of or {}, found.regret_at_common or {})
        lost = [f"{100 * own[t]:.1f}" if t in own else NOTHING for t in defaults for own in regrets]
        rows.append([name, *map(_effect_text, effects), *lost])
    return Table(headings, rows)


def importance_table(found: Importance) -> Table:
    """Return the shares of variation that parameters, pairs and factors explain."""
    headings = [
        Heading("effect of"),
        Heading("among"),
        Heading("share", "of the variation of expected accuracy"),
        Heading(f"{found.level:.0%} interval"),
    ]
    parts = {"parameters within a setup": found.tuned, "the setups' best accuracies": found.factors}
    rows = [
        [
            effect_label(effect.paths),
            name,
            f"{effect.share:.0%}",
            " to ".join(f"{end:.0%}" for end in effect.interval),
        ]
        for name, effects in parts.items()
        for effect in effects
    ]
    return Table(headings, rows)


def answer_lines(answer: BestAnswer, *, most: int) -> list[str]:
    """Return the first answers in a line each, and how many more there are."""
    names = setup_names([found.setup for found in answer.setups])
    lines = [
        f"{name}: {temperature_text(found.temperature)} ({_temperatures(found.interval)})"
        if found.temperature is not None
        else f"{name}: not known yet"
        for name, found in zip(names[:most], answer.setups, strict=False)
    ]
    return [*lines, f"and {len(names) - most} more"] if len(names) > most else lines


def outcome_table(bands: Sequence[TemperatureBand], answer: BestAnswer) -> Table:
    """Return how the trials of each range of temperatures ended, in the whole study and in each setup.

    Args:
        bands: Those of the whole study.
        answer: Has each setup's.
    """
    temperatures = [f"{temperature_text(band.low)} to {temperature_text(band.high)}" for band in bands]
    meaning = "trials that completed, of all that ended where some did not"
    headings = [Heading("setup"), *(Heading(f"T {text}", meaning) for text in temperatures)]
    rows = [["all", *map(_outcome_text, bands)]]
    if len(answer.setups) > 1:
        names = setup_names([found.setup for found in answer.setups])
        for name, found in zip(names, answer.setups, strict=True):
            rows.append([name, *map(_outcome_text, found.outcomes)])
    return Table(headings, rows)


def teacher_table(teachers: Sequence[TeacherRow]) -> Table:
    """Return the teachers: what they are and how good."""
    headings = [
        "teacher",
        "finetune epochs",
        "pretraining",
        "validation",
        "test",
        "calibration error",
        "digest",
    ]
    rows = [
        [
            value_text(recipe.get("arch")),
            value_text((recipe.get("finetune") or {}).get("epochs")),
            value_text(recipe.get("pretraining")),
            percent(teacher.val_accuracy),
            percent(teacher.test_accuracy),
            NOTHING if teacher.calibration_error is None else f"{teacher.calibration_error:.3f}",
            teacher.digest[:12],
        ]
        for teacher in teachers
        for recipe in [teacher.recipe.get("teacher") or {}]
    ]
    return Table([Heading(text) for text in headings], rows)


def percent(fraction: float | None) -> str:
    """Return a fraction as a percentage, or a dash where there is none."""
    return NOTHING if fraction is None else f"{fraction:.1%}"


def _answer_row(
    found: SetupAnswer, factors: Sequence[str], tuned: Sequence[str], defaults: Sequence[str]
) -> list[str]:
    params, regret = found.params or {}, found.regret_of or {}
    return [
        *(value_text(found.setup.get(path)) for path in factors),
        NOTHING if found.temperature is None else temperature_text(found.temperature),
        _temperatures(found.interval),
        _temperatures(found.near_optimal),
        _accuracy(found),
        percent(found.test_accuracy),
        *(value_text(params[path]) if path in params else NOTHING for path in tuned),
        *(f"{100 * regret[t]:.1f}" if t in regret else NOTHING for t in defaults),
        *map(str, (found.trials, found.failed, found.pruned)),
    ]


def _decided(found: SetupAnswer) -> str:
    if found.forecast is None or found.temperature is None:
        return NOTHING
    return "yes" if found.forecast.decided else "no"


def _outcome_text(band: TemperatureBand) -> str:
    if not band.finished:
        return NOTHING
    if not band.lost:
        return str(band.complete)
    lost = [f"{count} {kind}" for kind in ("pruned", "diverged", "failed") if (count := getattr(band, kind))]
    return f"{band.complete} of {band.finished} ({', '.join(lost)})"


def _effect_text(effect: TemperatureEffect | None) -> str:
    if effect is None:
        return NOTHING
    low, high = effect.interval
    return (
        f"{temperature_text(effect.best)} over {temperature_text(effect.worst)}: "
        f"{100 * effect.gain:.1f} ({100 * low:.1f} to {100 * high:.1f})"
    )


def _temperatures(interval: Interval | None) -> str:
    return NOTHING if interval is None else " to ".join(map(temperature_text, interval))


def _accuracy(found: SetupAnswer) -> str:
    if found.accuracy_interval is None:
        return percent(found.accuracy)
    low, high = found.accuracy_interval
    return f"{percent(found.accuracy)} ({100 * low:.1f} to {100 * high:.1f})"


def _stopped(found: SetupAnswer) -> list[str]:
    return [f"Stopped early: {found.stopped}."] if found.stopped and found.stopped != found.reason else []


def _notes(answer: BestAnswer) -> list[tuple[str, str]]:
    names = setup_names([found.setup for found in answer.setups])
    return [
        (name, note)
        for name, found in zip(names, answer.setups, strict=True)
        for note in [*([found.reason] if found.reason else []), *found.warnings, *_stopped(found)]
    ]
