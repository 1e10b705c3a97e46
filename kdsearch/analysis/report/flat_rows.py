"""Answers as flat rows with every number, for CSV, spreadsheets and pandas."""

from collections.abc import Mapping, Sequence
from typing import Any

from kdsearch.analysis.questions.best import BestAnswer
from kdsearch.analysis.questions.comparison import Comparison
from kdsearch.analysis.questions.forecast import Forecast
from kdsearch.analysis.questions.importance import Importance
from kdsearch.analysis.questions.recommendation import Recommendation
from kdsearch.analysis.questions.verdicts import VerdictAnswer
from kdsearch.spec import level_label
from kdsearch.storage import StudySummary, TrialRow

Row = dict[str, Any]
_PAIRS = ("interval", "near_optimal", "accuracy_interval")


def answer_rows(answer: BestAnswer) -> list[Row]:
    """Return the answers, a row for each setup."""
    return [_answer_row(setup, answer.level) for setup in answer.to_dict()["setups"]]


def _answer_row(setup: Mapping[str, Any], level: float) -> Row:
    forecast = setup["forecast"] or {}
    pairs = {f"{name}_{end}": at for name in _PAIRS for end, at in _ends(setup[name])}
    return {
        **_labels(setup["setup"]),
        "temperature": setup["temperature"],
        "level": level,
        **pairs,
        **{name: setup[name] for name in ("interval_loss", "accuracy", "test_accuracy")},
        **(setup["params"] or {}),
        **{f"lost_at_{default}": lost for default, lost in (setup["regret_of"] or {}).items()},
        **{
            f"lost_at_{default}_{end}": at
            for default, interval in (setup["regret_interval_of"] or {}).items()
            for end, at in _ends(interval)
        },
        **{name: setup[name] for name in ("trials", "diverged", "failed", "pruned")},
        "expected_loss": forecast.get("regret"),
        "decided": bool(forecast.get("decided")),
        "reason": setup["reason"],
        "notes": "; ".join([*forecast.get("missing", ()), *setup["warnings"]]),
    }


def verdict_rows(answer: VerdictAnswer) -> list[Row]:
    """Return the verdicts, a flat row for each claim."""
    rows = []
    for found in answer.to_dict()["verdicts"]:
        row = {**found["claim"], **{name: found[name] for name in found if name != "claim"}}
        for name in ("interval", "interval_at_common"):
            low, high = row.pop(name) or (None, None)
            row |= {f"{name}_low": low, f"{name}_high": high}
        for name, between in (("reasons", "; "), ("notes", " "), ("levels", ", "), ("temperatures", ", ")):
            row[name] = between.join(map(str, row[name]))
        row["where"] = ", ".join(f"{path}={level}" for path, level in row["where"].items())
        rows.append(row)
    return rows


def comparison_rows(found: Comparison) -> list[Row]:
    """Return what is known of each pair of levels of a factor."""
    return [
        {
            "factor": found.factor,
            **dict(zip(("from", "to"), map(level_label, pair.levels), strict=True)),
            **{"log_shift": pair.shift, "level": found.level},
            **{f"log_shift_{end}": at for end, at in _ends(pair.interval)},
            **{"probability": pair.probability, "cost": pair.cost},
        }
        for pair in found.pairs
    ]


def forecast_rows(found: Forecast) -> list[Row]:
    """Return what each setup still needs."""
    more = ("more_best", "more_likely", "more_worst")
    return [
        {
            **_labels(setup.setup),
            **{name: getattr(setup, name) for name in ("trials", "regret", "decided")},
            **dict(zip(more, setup.more_trials or [None] * 3, strict=True)),
            **{name: getattr(setup, name) for name in ("hours", "reason", "stopped")},
            "missing": "; ".join(setup.missing),
        }
        for setup in found.setups
    ]


def importance_rows(found: Importance) -> list[Row]:
    """Return the share of variation of each parameter, pair and factor."""
    parts = {"within a setup": found.tuned, "between setups": found.factors}
    return [
        {
            **{"effect": " × ".join(effect.paths), "part": part, "share": effect.share, "level": found.level},
            **{f"share_{end}": at for end, at in _ends(effect.interval)},
        }
        for part, effects in parts.items()
        for effect in effects
    ]


def recommendation_rows(found: Recommendation) -> list[Row]:
    """Return the recommendation as one row."""
    pairs = {f"{name}_{end}": at for name in _PAIRS[:2] for end, at in _ends(getattr(found, name))}
    return [
        {
            **_labels(found.setup),
            **{"temperature": found.temperature, "level": found.level, **pairs},
            **(found.params or {}),
            **{f"lost_at_{default}": lost for default, lost in (found.regret_of or {}).items()},
            **{"trials": found.trials, "like": found.like, "reason": found.reason},
            "notes": "; ".join(found.warnings),
        }
    ]


def trial_row(trial: TrialRow) -> Row:
    """Return a trial as one row: the levels and parameters stand under their dotted paths."""
    document = trial.to_dict()
    return {**document.pop("setup"), **document.pop("params"), **document}


def study_row(study: StudySummary) -> Row:
    """Return a study as one row: its state, why, its progress and the hours it took."""
    document = {name: value for name, value in study.to_dict().items() if name not in ("stopped", "widened")}
    driver = document.pop("driver") or {}
    host, pid = driver.get("host"), driver.get("pid")
    return {**document, "reason": study.why, "driver_host": host, "driver_pid": pid}


def one_kind_a_column(rows: Sequence[Row]) -> list[Row]:
    """Return rows whose recipes, and columns of several kinds, are JSON texts."""
    kinds: dict[str, set[type]] = {}
    for row in rows:
        for path, value in row.items():
            kinds.setdefault(path, set()).add(float if type(value) is int else type(value))
    mixed = {path for path, found in kinds.items() if len(found - {type(None)}) > 1 or found & {dict, list}}
    return [
        {p: level_label(v) if p in mixed and v is not None else v for p, v in row.items()} for row in rows
    ]


def _labels(setup: Mapping[str, Any]) -> Row:
    return {path: level_label(level) for path, level in setup.items()}


def _ends(pair: Sequence[float] | None) -> list[tuple[str, float | None]]:
    low, high = pair or (None, None)
    return [("low", low), ("high", high)]
