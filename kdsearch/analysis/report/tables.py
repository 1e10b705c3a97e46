"""The tables of answers, as text: made once, drawn by terminal and HTML."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, TypeAlias

from kdsearch.analysis.labels import (
    NOTHING,
    duration_text,
    effect_label,
    factor_label,
    level_text,
    number_text,
    points_text,
    setup_names,
    temperature_text,
    value_text,
)
from kdsearch.analysis.questions.best import BestAnswer, SetupAnswer
from kdsearch.analysis.questions.comparison import Comparison
from kdsearch.analysis.questions.effects import TemperatureEffect
from kdsearch.analysis.questions.forecast import Forecast, SetupForecast
from kdsearch.analysis.questions.importance import Importance
from kdsearch.analysis.questions.outcomes import TemperatureBand
from kdsearch.analysis.questions.recommendation import Recommendation, Source
from kdsearch.analysis.response.profiles import Interval
from kdsearch.spec import Setup
from kdsearch.spec.luck import luck_text
from kdsearch.storage import TeacherRow

ALWAYS = 10
"""The worth of a column that says what its row is about."""

NEEDED = 6
"""From this worth on a column is never left out: a table without it would mislead."""

_MOST_MISSING = 2
"""What a decision takes is a list; more than so much of it is counted, JSON has all."""

FAILED_TITLE = "for another reason than divergence; those that were lost and run again included"

_MOST_SOURCES = 8
"""Setups that a recommendation draws from: the likest say most of it."""

Kind = Literal["number", "word", "prose"]
_Column: TypeAlias = tuple["Heading", Callable[[SetupAnswer], str]]


@dataclass(frozen=True)
class Heading:
    """A column's heading.

    Attributes:
        text: The heading.
        title: What the column means; a page shows it on hovering.
        kind: Numbers stand to the right, words to the left, and prose may be broken between its words.
        worth: Where there is no room for all columns, those of the least worth are left out; 5 is the middle.
    """

    text: str
    title: str = ""
    kind: Kind = "number"
    worth: int = 5


@dataclass(frozen=True)
class Table:
    """A table as text. The column at `emphasis` stands out, `notes` are (setup, sentence)."""

    headings: list[Heading]
    rows: list[list[str]]
    emphasis: int | None = None
    notes: list[tuple[str, str]] = field(default_factory=list)
    title: str = ""


def answer_table(answer: BestAnswer) -> Table:
    """Return the answers as a table, with notes on each setup."""
    factors = list(answer.setups[0].setup) if answer.setups else []
    columns = [*_factor_columns(factors), *_belief_columns(answer), *_count_columns(answer)]
    return Table(
        [heading for heading, _ in columns],
        [[cell(found) for _, cell in columns] for found in answer.setups],
        emphasis=len(factors),
        notes=notes_of(answer),
        title=f"Best temperature per setup of {answer.study}",
    )


def forecast_table(found: BestAnswer | Forecast) -> Table:
    """Return which setups are decided, and about what the others need."""
    factors = list(found.setups[0].setup) if found.setups else []
    slots = number_text(found.slots, 2)
    headings = [
        *_factor_headings(factors),
        Heading("trials", "complete trials that have a say", worth=3),
        Heading("may lose, points", "expected loss of accuracy at the recommended temperature"),
        Heading("to go", f"complete trials until {_decided_at(found.target)}", worth=ALWAYS),
        Heading("from, to", "so many at best and at worst", worth=4),
        Heading("time", f"with {slots} packs at the same time, as many as ran so far"),
    ]
    rows = [[*_levels(own.setup, factors), str(own.trials), *_forecast_cells(own)] for own in found.setups]
    title = f"{found.study}: trials until {_at_most(found.target)} are expected to be lost"
    notes = [] if isinstance(found, BestAnswer) else notes_of(found)
    return Table(headings, rows, notes=notes, title=title)


def effect_table(answer: BestAnswer) -> Table:
    """Return temperature's effect with the other parameters retuned, and kept.

    Retuned means at their best for each temperature.
    """
    defaults = list(dict.fromkeys(t for found in answer.setups for t in found.regret_of or ()))
    ways = {
        "retuned": "the other tuned parameters at their best for each temperature",
        "not retuned": "the other tuned parameters kept as recommended for the best temperature",
    }
    names = setup_names([found.setup for found in answer.setups])
    headings = [_setup_heading()]
    headings += [
        Heading(f"best over worst T, {way}", f"points gained ({answer.level:.0%}); {meaning}", "word")
        for way, meaning in ways.items()
    ]
    headings += [
        Heading(f"points lost at T={t}, {way}", f"expected; {meaning}")
        for t in defaults
        for way, meaning in ways.items()
    ]
    rows = []
    for name, found in zip(names, answer.setups, strict=True):
        effects = (found.effect, found.effect_at_common)
        regrets = (found.regret_of or {}, found.regret_at_common or {})
        lost = [points_text(own.get(t)) for t in defaults for own in regrets]
        rows.append([name, *map(_effect_text, effects), *lost])
    return Table(headings, rows)


def importance_table(found: Importance) -> Table:
    """Return the shares of variation that parameters, pairs and factors explain."""
    headings = [
        Heading("effect of", kind="word", worth=ALWAYS),
        Heading("among", kind="word"),
        Heading("share %", "of the variation of expected accuracy", worth=ALWAYS),
        _interval_heading(f"{found.level:.0%}", "holds the share with this probability"),
    ]
    parts = {"parameters within a setup": found.tuned, "the setups' best accuracies": found.factors}
    rows = [
        [effect_label(effect.paths), name, points_text(effect.share, 0), _percentages(effect.interval)]
        for name, effects in parts.items()
        for effect in effects
    ]
    notes = [(found.study, found.reason)] if found.reason else []
    return Table(headings, rows, notes=notes, title=f"{found.study}: what accuracy depends on")


def comparison_table(found: Comparison) -> Table:
    """Return every pair of levels of a factor: how the best temperature shifts, and how sure that is."""
    headings = [
        Heading("levels", kind="word", worth=ALWAYS),
        Heading("T times", "the best temperature at the second level over that at the first", worth=ALWAYS),
        _interval_heading(f"{found.level:.0%}", "holds this ratio with this probability"),
        Heading("P(real)", "probability of a shift by more than 10% that costs something", worth=8),
        Heading("lost by one T, points", "expected, as a mean of both levels"),
    ]
    rows = [
        [
            " → ".join(level_text(found.factor, level) for level in pair.levels),
            *(temperature_text(math.exp(pair.shift)), _temperatures(_exp(pair.interval))),
            *(f"{pair.probability:.2f}", points_text(pair.cost)),
        ]
        for pair in found.pairs
    ]
    notes = [(found.factor, text)] if (text := found.statement or found.reason) else []
    title = f"{found.study}: does {found.factor} move the best temperature?"
    return Table(headings, rows, emphasis=1, notes=notes, title=title)


def recommendation_table(found: Recommendation) -> Table:
    """Return the temperature that is recommended for one setup, with its doubt."""
    name, params, regret = setup_names([found.setup])[0], found.params or {}, found.regret_of or {}
    headings = [
        _best_heading("of the least expected loss"),
        _interval_heading(f"{found.level:.0%}"),
        Heading("near-optimal", f"each T near the best accuracy, {found.level:.0%} sure"),
        *map(_tuned_heading, params),
        *map(_lost_heading, regret),
    ]
    cells = [
        *(_temperature(found.temperature), _temperatures(found.interval), _temperatures(found.near_optimal)),
        *map(value_text, params.values()),
        *map(points_text, regret.values()),
    ]
    notes = [(name, note) for note in (*([found.reason] if found.reason else []), *found.warnings)]
    title = f"Recommended for {name}" + (f"; all else as in {found.like}" if found.like else "")
    return Table(headings, [cells], emphasis=0, notes=notes, title=title)


def sources_table(sources: Sequence[Source]) -> Table:
    """Return the setups that a recommendation draws from, the likest first."""
    most = sources[:_MOST_SOURCES]
    paths = list(dict.fromkeys(path for source in most for path in source.setup))
    headings = [
        Heading("study", kind="word", worth=ALWAYS),
        *_factor_headings(paths),
        Heading("trials"),
        Heading("likeness", "expected share of temperature's effect that it has in common", worth=8),
    ]
    rows = [
        [source.study, *_levels(source.setup, paths), str(source.trials), f"{source.likeness:.2f}"]
        for source in most
    ]
    of = f" {len(sources)} setups, the likest first" if len(most) < len(sources) else ""
    return Table(headings, rows, title=f"Drawn from{of}")


def answer_lines(answer: BestAnswer, *, most: int) -> list[str]:
    """Return the first answers in a line each.

    A last line says how many more there are.
    """
    names = setup_names([found.setup for found in answer.setups])
    lines = [
        f"{name}: {temperature_text(found.temperature)} ({_temperatures(found.interval)}), {_state(found)}"
        if found.temperature is not None
        else f"{name}: not known yet"
        for name, found in zip(names[:most], answer.setups, strict=False)
    ]
    return [*lines, f"and {len(names) - most} more"] if len(names) > most else lines


def outcome_table(bands: Sequence[TemperatureBand], answer: BestAnswer) -> Table:
    """Return how trials ended in each range of temperatures.

    There is a row for the whole study and for each setup.

    Args:
        bands: Those of the whole study.
        answer: Has each setup's.
    """
    meaning = "trials that completed, of all that ended where some did not"
    headings = [_setup_heading(), *(Heading(f"T {text}", meaning) for text in _band_names(bands))]
    rows = [["all", *map(_outcome_text, bands)]]
    if len(answer.setups) > 1:
        names = setup_names([found.setup for found in answer.setups])
        for name, found in zip(names, answer.setups, strict=True):
            rows.append([name, *map(_outcome_text, found.outcomes)])
    return Table(headings, rows)


def pruned_table(answer: BestAnswer) -> Table | None:
    """Return how many trials were pruned at which temperatures. None where none was."""
    found = [own for own in answer.setups if own.pruned]
    if not found:
        return None
    headings = [_setup_heading(), *(Heading(f"T {text}") for text in _band_names(found[0].outcomes))]
    names = dict(zip(map(id, answer.setups), setup_names([own.setup for own in answer.setups]), strict=True))
    rows = [[names[id(own)], *map(_pruned_text, own.outcomes)] for own in found]
    return Table(headings, rows, title="Pruned of all that ended, by temperature")


def teacher_table(teachers: Sequence[TeacherRow], *, with_files: bool = False) -> Table:
    """Return the teachers: what they are, how good, and where their files are if that is asked for."""
    headings = [
        Heading("digest", kind="word", worth=ALWAYS),
        Heading("teacher", kind="word", worth=ALWAYS),
        Heading("finetune epochs"),
        Heading("pretraining", kind="word"),
        Heading("validation %", worth=8),
        Heading("test %"),
        Heading("calibration error", worth=4),
        *([Heading("path", kind="word", worth=3)] if with_files else []),
    ]
    rows = [
        [
            teacher.digest[:12],
            value_text(recipe.get("arch")),
            value_text((recipe.get("finetune") or {}).get("epochs")),
            value_text(recipe.get("pretraining")),
            *(points_text(teacher.val_accuracy), points_text(teacher.test_accuracy)),
            NOTHING if teacher.calibration_error is None else f"{teacher.calibration_error:.3f}",
            *([teacher.path] if with_files else []),
        ]
        for teacher in teachers
        for recipe in [teacher.recipe.get("teacher") or {}]
    ]
    return Table(headings, rows)


def notes_of(answer: BestAnswer | Forecast) -> list[tuple[str, str]]:
    """Return what to know of each setup, as (setup, sentence)."""
    setups: Sequence[SetupAnswer | SetupForecast] = answer.setups
    names = setup_names([found.setup for found in setups])
    return [(name, note) for name, found in zip(names, setups, strict=True) for note in _notes(found)]


def _notes(found: SetupAnswer | SetupForecast) -> list[str]:
    forecast, warnings = (found.forecast, found.warnings) if isinstance(found, SetupAnswer) else (found, ())
    reasons = [found.reason] if found.reason else []
    return [*reasons, *_undecided(forecast), *warnings, *_stopped(found)]


def terms_of(answer: BestAnswer) -> list[str]:
    """Return what a table of answers is not to be read without.

    It is what its intervals promise, until when trials are to go, whose luck the doubt includes, and which
    earlier studies have a say.
    """
    return [
        *filter(None, [interval_terms(answer), target_terms(answer)]),
        luck_text(answer.luck),
        *([f"prior from: {', '.join(answer.prior_from)}"] if answer.prior_from else []),
    ]


def interval_terms(answer: BestAnswer) -> str | None:
    """Return what the intervals of a table of answers promise. None without an answer."""
    promised = promised_points(answer)
    return promised and (
        f"{answer.level:.0%} interval: holds with this probability a T that loses at most {promised} "
        f"against the best; near-optimal: each such T loses at most {100 * answer.tolerance:g} points; "
        f"±: half of accuracy's interval"
    )


def target_terms(answer: BestAnswer) -> str | None:
    """Return until when the trials of a table of answers are to go. None where no answer has a forecast."""
    if not any(found.forecast for found in answer.setups):
        return None
    return f"to go: trials until at most {100 * answer.target:g} points are expected to be lost"


def promised_points(answer: BestAnswer) -> str | None:
    """Return to within how many points the intervals hold the best temperatures. None without an answer."""
    losses = [points_text(own.interval_loss) for own in answer.setups if own.interval_loss is not None]
    known = sorted(set(losses), key=float)
    return f"{' to '.join(dict.fromkeys([known[0], known[-1]]))} points" if known else None


def _factor_columns(paths: Sequence[str]) -> list[_Column]:
    return [
        (head, partial(_level_of, path)) for head, path in zip(_factor_headings(paths), paths, strict=True)
    ]


def _belief_columns(answer: BestAnswer) -> list[_Column]:
    """Return what is believed of each setup. A column that would have dashes alone is left out."""
    tuned = list(dict.fromkeys(path for found in answer.setups for path in found.params or ()))
    defaults = list(dict.fromkeys(t for found in answer.setups for t in found.regret_of or ()))
    level = f"{answer.level:.0%}"
    near = f"each T within {100 * answer.tolerance:g} points of the best, {level} sure"
    sure = f"expected validation accuracy at the best T; ± half its {level} interval"
    test = "test accuracy: mean of the nearest trials; no part in the choice"
    is_tested = any(found.test_accuracy is not None for found in answer.setups)
    return [
        (
            _best_heading("the temperature with the highest expected accuracy"),
            lambda f: _temperature(f.temperature),
        ),
        (_interval_heading(level), lambda f: _temperatures(f.interval)),
        (Heading("near-optimal", near), lambda f: _temperatures(f.near_optimal)),
        (Heading("accuracy %", sure), _accuracy),
        *([(Heading("test %", test, worth=1), lambda f: points_text(f.test_accuracy))] if is_tested else []),
        *((_tuned_heading(path), partial(_param_of, path)) for path in tuned),
        *((_lost_heading(default), partial(_lost_of, default)) for default in defaults),
    ]


def _count_columns(answer: BestAnswer) -> list[_Column]:
    """Return on what each answer rests, and what is missing. What no setup has is left out."""
    kinds = {
        "trials": "complete trials that have a say",
        "diverged": "their loss or accuracy was not finite",
        "failed": FAILED_TITLE,
        "pruned": "",
    }
    has = {kind: any(getattr(found, kind) for found in answer.setups) for kind in kinds if kind != "trials"}
    to_go = Heading("to go", f"complete trials until {_decided_at(answer.target)}", worth=8)
    is_forecast = any(found.forecast for found in answer.setups)
    return [
        *(
            (Heading(kind, meaning, worth=2), partial(_count_of, kind))
            for kind, meaning in kinds.items()
            if has.get(kind, True)
        ),
        *([(to_go, _to_go)] if is_forecast else []),
    ]


def _level_of(path: str, found: SetupAnswer) -> str:
    return level_text(path, found.setup[path]) if path in found.setup else NOTHING


def _param_of(path: str, found: SetupAnswer) -> str:
    params = found.params or {}
    return value_text(params[path]) if path in params else NOTHING


def _lost_of(default: str, found: SetupAnswer) -> str:
    return points_text((found.regret_of or {}).get(default))


def _count_of(kind: str, found: SetupAnswer) -> str:
    return str(getattr(found, kind))


def _best_heading(meaning: str) -> Heading:
    return Heading("best T", f"the temperature {meaning}", worth=ALWAYS)


def _tuned_heading(path: str) -> Heading:
    return Heading(factor_label(path), f"{path} at the best temperature", worth=3)


def _factor_headings(paths: Sequence[str]) -> list[Heading]:
    return [Heading(factor_label(path), path, "word", ALWAYS) for path in paths]


def _setup_heading() -> Heading:
    return Heading("setup", kind="word", worth=ALWAYS)


def _interval_heading(level: str, meaning: str = "") -> Heading:
    meaning = meaning or f"holds what is nearly the best temperature with {level} probability"
    return Heading(f"{level} interval", meaning, worth=9)


def _lost_heading(default: str) -> Heading:
    worth = 3 if default == "1" else 7  # T = 4 is what people copy
    return Heading(f"points lost at T={default}", "expected accuracy lost against the best T", worth=worth)


def _decided_at(target: float) -> str:
    return f"decided: earned by replicates, and {_at_most(target)} expected to be lost"


def _at_most(target: float) -> str:
    return f"at most {100 * target:g} points"


def _levels(setup: Setup, paths: Sequence[str]) -> list[str]:
    return [level_text(path, setup[path]) if path in setup else NOTHING for path in paths]


def _accuracy(found: SetupAnswer) -> str:
    if found.accuracy_interval is None:
        return points_text(found.accuracy)
    low, high = found.accuracy_interval
    return f"{points_text(found.accuracy)} ±{50 * (high - low):.1f}"


def _state(found: SetupAnswer) -> str:
    return "decided" if found.forecast and found.forecast.decided else "not decided"


def _to_go(found: SetupAnswer) -> str:
    if found.forecast is None and not found.stopped:
        return NOTHING
    return _more_trials(found.forecast, found.stopped)


def _more_trials(forecast: SetupForecast | None, stopped: str | None) -> str:
    if stopped:
        return "stopped"
    if forecast is None or forecast.regret is None:
        return NOTHING
    if forecast.decided or forecast.more_trials is None:
        return "decided" if forecast.decided else "undecided"
    return f"about {forecast.more_trials[1]}"


def _forecast_cells(own: SetupAnswer | SetupForecast) -> list[str]:
    forecast = own.forecast if isinstance(own, SetupAnswer) else own
    to_go = _more_trials(forecast, own.stopped)
    regret = NOTHING if forecast is None else points_text(forecast.regret, 2)
    if forecast is None or not to_go.startswith("about") or forecast.more_trials is None:
        return [regret, to_go, NOTHING, NOTHING]
    low, _, high = forecast.more_trials
    return [regret, to_go, f"{low} to {high}", duration_text(forecast.hours)]


def _undecided(forecast: SetupForecast | None) -> list[str]:
    if forecast is None or not forecast.missing or forecast.more_trials is None:
        return []
    told = [condition.rstrip(".") for condition in forecast.missing[:_MOST_MISSING]]
    more = len(forecast.missing) - len(told)
    rest = [f"{more} more condition{'s' if more > 1 else ''}"] if more else []
    return [f"Not decided. It takes {'; '.join([*told, *rest])}."]


def _stopped(found: SetupAnswer | SetupForecast) -> list[str]:
    is_news = found.stopped and found.stopped != found.reason
    return [f"Stopped early: {found.stopped}."] if is_news else []


def _band_names(bands: Sequence[TemperatureBand]) -> list[str]:
    return [_temperatures((band.low, band.high)) for band in bands]


def _outcome_text(band: TemperatureBand) -> str:
    if not band.finished:
        return NOTHING
    if not band.lost:
        return str(band.complete)
    lost = [f"{count} {kind}" for kind in ("pruned", "diverged", "failed") if (count := getattr(band, kind))]
    return f"{band.complete} of {band.finished} ({', '.join(lost)})"


def _pruned_text(band: TemperatureBand) -> str:
    return f"{band.pruned} of {band.finished}" if band.finished else NOTHING


def _effect_text(effect: TemperatureEffect | None) -> str:
    if effect is None:
        return NOTHING
    low, high = map(points_text, effect.interval)
    return (
        f"{temperature_text(effect.best)} over {temperature_text(effect.worst)}: "
        f"{points_text(effect.gain)} ({low} to {high})"
    )


def _temperature(temperature: float | None) -> str:
    return NOTHING if temperature is None else temperature_text(temperature)


def _temperatures(interval: Interval | None) -> str:
    return NOTHING if interval is None else " to ".join(map(temperature_text, interval))


def _percentages(interval: Interval) -> str:
    return " to ".join(points_text(end, 0) for end in interval)


def _exp(interval: Interval) -> Interval:
    low, high = interval
    return math.exp(low), math.exp(high)
