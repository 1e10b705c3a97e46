"""Which setups are decided, and what the others need."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from kdsearch.analysis.questions.decision import ENOUGH_TO_DECIDE, gaps_of, what_is_missing
from kdsearch.analysis.questions.edges import Edge, parameter_edges
from kdsearch.analysis.response.fitted import Response
from kdsearch.analysis.response.profiles import TemperatureProfile
from kdsearch.analysis.response.selection import select_setups
from kdsearch.analysis.response.space import without_temperature
from kdsearch.analysis.shown import Shown
from kdsearch.analysis.threads import one_blas_thread
from kdsearch.spec import Setup, StudySpec, setup_key
from kdsearch.storage import StudySummary

COMMON_TARGET = 0.002
"""The expected loss to reach where a study names none: less than a seed's usual luck of 0.35 points."""


def target_of(spec: StudySpec) -> float:
    """Return the accuracy that recommended temperatures may be expected to lose."""
    return spec.search.stop.regret or COMMON_TARGET


def stopped_in(study: StudySummary) -> dict[str, str]:
    """Return why a study stopped setups early.

    Reasons are by the setup's key without its temperature.
    """
    return {setup_key(without_temperature(known.setup)): known.reason for known in study.stopped}


_RATES = (2.5, 1.5, 1.0)
"""Expected regret falls about as a power of a setup's trials: likely 1.5, seldom beyond these (simulated)."""


@dataclass(frozen=True)
class SetupForecast:
    """How far one setup is from its answer.

    Attributes:
        setup: The setup.
        trials: Its complete trials.
        regret: The accuracy that its recommended temperature is expected to lose; None where there is none.
        decided: Whether nothing is missing and no other parameter's best is at the edge of its range.
        missing: What keeps it from being decided.
        more_trials: About how many more complete trials bring it there: at best, likely, at worst.
        hours: For how long the study then runs for them; None where no time was measured.
        reason: Why there is no number of trials.
        stopped: Why the search gives the setup no more trials; None where it does, or only trials were asked.
    """

    setup: Setup
    trials: int
    regret: float | None = None
    decided: bool = False
    missing: tuple[str, ...] = ()
    more_trials: tuple[int, int, int] | None = None
    hours: float | None = None
    reason: str | None = None
    stopped: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the forecast as a JSON document."""
        lists = {"more_trials": self.more_trials and list(self.more_trials), "missing": list(self.missing)}
        return {**self.__dict__, **lists}


@dataclass(frozen=True)
class Budget:
    """What of a budget is spent, in its own unit."""

    spent: float
    limit: float


@dataclass(frozen=True, repr=False)
class Forecast(Shown):
    """What every setup still needs to reach the target.

    It is reached where its expected regret is at most `target`. `slots` is how many packs run at the same
    time in its hours. `budgets` tells what is spent of the study's budgets, by their names in `search`; it is
    empty where only trials were asked.
    """

    study: str
    target: float
    setups: list[SetupForecast] = field(default_factory=list)
    slots: float = 1.0
    budgets: dict[str, Budget] = field(default_factory=dict)

    @property
    def decided(self) -> bool:
        """Whether every setup is."""
        return all(setup.decided for setup in self.setups)

    def of_study(self, spec: StudySpec, study: StudySummary) -> "Forecast":
        """Return the forecast with what the study has spent of its budgets.

        Setups that it stopped are marked.
        """
        search, hours = spec.search, study.hours
        budgets = {
            "trials": (study.progress.finished, search.trials),
            "hours": (hours.wall, search.hours),
            "gpu_hours": (hours.gpu, search.gpu_hours),
            "cpu_hours": (hours.cpu, search.cpu_hours),
        }
        known = {name: Budget(spent, limit) for name, (spent, limit) in budgets.items() if limit is not None}
        reasons = stopped_in(study)
        setups = [replace(found, stopped=reasons.get(setup_key(found.setup))) for found in self.setups]
        return replace(self, setups=setups, budgets=known)

    def decisions(self, setups: Sequence[Setup]) -> dict[str, str]:
        """Return why each of a study's setups is decided, by its key. One that is not has none."""
        target = f"{100 * self.target:.3g}"
        why = {
            setup_key(found.setup): f"expected to lose {100 * found.regret:.2g} points after {found.trials} "
            f"trials, at most {target} were asked for"
            for found in self.setups
            if found.decided and found.regret is not None
        }
        known = {setup_key(setup): setup_key(without_temperature(setup)) for setup in setups}
        return {key: why[place] for key, place in known.items() if place in why}

    def to_dict(self) -> dict[str, Any]:
        """Return the forecast as a JSON document."""
        return {
            **self.__dict__,
            "setups": [setup.to_dict() for setup in self.setups],
            "budgets": {name: dict(budget.__dict__) for name, budget in self.budgets.items()},
        }


@one_blas_thread
def forecast_of(
    response: Response,
    *,
    regret: float | None = None,
    where: Mapping[str, Any] | None = None,
    slots: float = 1.0,
) -> Forecast:
    """Return which setups are decided, and about what the others need.

    Args:
        response: What the study's trials tell.
        regret: The target: the accuracy that a recommended temperature may be expected to lose; where it
            is None, the study's own.
        where: Levels of factors to which the forecast is restricted.
        slots: How many packs run at the same time.

    Raises:
        RequestError: A factor or a level does not belong to the study.
    """
    target = target_of(response.spec) if regret is None else regret
    members = select_setups(response.space.setups, where)
    setups = [_of_setup(response, s, target, slots) for s in members]
    return Forecast(response.spec.name, target, setups, slots)


def _of_setup(response: Response, setup: int, target: float, slots: float) -> SetupForecast:
    if reason := response.silence(setup):
        return SetupForecast(
            response.space.setups[setup], len(response.tallies[setup].complete), reason=reason
        )
    profile = response.profile([setup])
    node = int(response.recommended_nodes(setup, profile.temperature)[0])
    at_edge = next(parameter_edges(response, setup, node), None)
    return forecast_setup(response, setup, profile, at_edge, target=target, slots=slots)


def forecast_setup(
    response: Response,
    setup: int,
    profile: TemperatureProfile,
    at_edge: Edge | None,
    *,
    target: float,
    slots: float,
) -> SetupForecast:
    """Return the forecast of one setup that can be answered.

    Args:
        response: The study's response.
        setup: The setup.
        profile: Its profile.
        at_edge: Where the best value of another parameter than temperature lies at the edge of its range.
        target: The accuracy that its recommendation may be expected to lose.
        slots: How many packs run at the same time.
    """
    known, tally = response.space.setups[setup], response.tallies[setup]
    n_trials = len(tally.complete)
    regret = profile.expected_regret
    if at_edge is not None:
        return SetupForecast(known, n_trials, regret, missing=(str(at_edge),), reason=str(at_edge))
    missing = what_is_missing(response, setup, profile, target)
    if not missing:
        return SetupForecast(known, n_trials, regret, decided=True, more_trials=(0, 0, 0), hours=0.0)
    n_gaps = sum(gap.missing for gap in gaps_of(response, setup, profile))
    least = max(ENOUGH_TO_DECIDE - n_trials, n_gaps, 1)
    ratio = max((regret + profile.lost_at_a_cusp) / target, 1.0)
    best, likely, worst = (max(round(n_trials * (ratio ** (1 / rate) - 1)), least) for rate in _RATES)
    seconds = tally.complete.seconds[np.nan_to_num(tally.complete.seconds) > 0]
    hours = likely * float(seconds.mean()) / 3600 / slots if len(seconds) else None
    more = (best, likely, worst)
    return SetupForecast(known, n_trials, regret, missing=missing, more_trials=more, hours=hours)
