"""Optuna's frozen trials: made of ours, and as JSON documents."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from kdsearch.storage.rows.distributions import OptunaSpace
from kdsearch.storage.rows.entries import NewTrial, StoredTrial, attribute_of
from kdsearch.storage.rows.read import TrialState

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial
    from optuna.trial import TrialState as OptunaState

TRIAL_ATTRIBUTE = "kdsearch"
"""The user attribute of an Optuna trial that holds what its parameters don't tell."""


def optuna_state(state: TrialState) -> "OptunaState":
    """Return Optuna's name of a trial's state."""
    from optuna.trial import TrialState as State

    names = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}
    return State[names.get(state, state.upper())]


def new_frozen_trial(space: OptunaSpace, trial: NewTrial, state: TrialState) -> "FrozenTrial":
    """Return a trial that runs or waits. A value that a person chose may lie outside its range."""
    from optuna.trial import FrozenTrial

    return FrozenTrial(
        number=-1,
        trial_id=-1,
        state=optuna_state(state),
        value=None,
        datetime_start=None if state == "waiting" else _local(datetime.now(UTC)),
        datetime_complete=None,
        params=space.encode(trial.setup, trial.params),
        distributions=space.distributions(trial.setup),
        user_attrs={TRIAL_ATTRIBUTE: attribute_of(trial)},
        system_attrs={},
        intermediate_values={},
    )


def stored_frozen_trial(space: OptunaSpace, trial: StoredTrial, curve: Mapping[int, float]) -> "FrozenTrial":
    """Return a trial of our tables as Optuna has it.

    `curve` gives the accuracies to add, by epoch.
    """
    from optuna.trial import FrozenTrial

    points = dict(curve)
    ending = trial.ending
    value = None
    if ending is not None and ending.state != "failed" and ending.accuracy is not None:
        value = points[ending.epoch] = ending.accuracy
    reason = {"reason": trial.reason} if trial.reason else {}
    return FrozenTrial(
        number=trial.number,
        trial_id=-1,
        state=optuna_state(trial.state),
        value=value,
        datetime_start=_local(trial.started),
        datetime_complete=_local(trial.finished),
        params=space.encode(trial.setup, trial.params),
        distributions=space.distributions(trial.setup),
        user_attrs={TRIAL_ATTRIBUTE: attribute_of(trial), **reason},
        system_attrs={},
        intermediate_values=points,
    )


def lost_frozen_trial() -> "FrozenTrial":
    """Return what stands for a trial of which nothing is known."""
    from optuna.trial import create_trial

    return create_trial(state=optuna_state("failed"), user_attrs={"reason": "deleted in Optuna"})


def frozen_document(trial: "FrozenTrial") -> dict[str, Any]:
    """Return an Optuna trial as a JSON document, nothing left out."""
    from optuna.distributions import distribution_to_json

    return {
        "number": trial.number,
        "state": trial.state.name,
        "values": trial.values,
        "started": _text(trial.datetime_start),
        "finished": _text(trial.datetime_complete),
        "params": trial.params,
        "distributions": {name: distribution_to_json(d) for name, d in trial.distributions.items()},
        "user_attrs": trial.user_attrs,
        "system_attrs": trial.system_attrs,
        "curve": list(trial.intermediate_values.items()),
    }


def frozen_of_document(document: Mapping[str, Any]) -> "FrozenTrial":
    """Return the Optuna trial that `frozen_document` told of."""
    from optuna.distributions import json_to_distribution
    from optuna.trial import FrozenTrial
    from optuna.trial import TrialState as State

    return FrozenTrial(
        number=document["number"],
        trial_id=-1,
        state=State[document["state"]],
        value=None,
        values=document["values"],
        datetime_start=_moment(document["started"]),
        datetime_complete=_moment(document["finished"]),
        params=document["params"],
        distributions={name: json_to_distribution(d) for name, d in document["distributions"].items()},
        user_attrs=document["user_attrs"],
        system_attrs=document["system_attrs"],
        intermediate_values=dict(document["curve"]),
    )


def _local(moment: datetime | None) -> datetime | None:
    """Return a moment as Optuna has it: local time without its zone."""
    return None if moment is None else moment.astimezone().replace(tzinfo=None)


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat()


def _moment(text: str | None) -> datetime | None:
    return None if text is None else _local(datetime.fromisoformat(text))
