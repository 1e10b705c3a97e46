"""From the record of a study to its next pack."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from kdsearch.analysis.questions.forecast import forecast_of
from kdsearch.analysis.questions.widening import find_widenings
from kdsearch.analysis.response.fitted import fit_response
from kdsearch.analysis.response.observations import asked_epochs
from kdsearch.analysis.response.warm_start import EarlierStudy
from kdsearch.search.balance import trials_of
from kdsearch.search.pack import Pack
from kdsearch.search.proposers import build_proposer
from kdsearch.search.pruning import FLOORED, audited_of, floors_of, line_of
from kdsearch.search.replicates import outranked
from kdsearch.spec import Params, Setup, StudySpec
from kdsearch.spec.widening import Widening
from kdsearch.storage import TrialRow
from kdsearch.trial import Trial

MAX_CURVES = 64
"""The floors follow from a setup's latest curves: all of them would cost more with every pack."""

_JUDGE_GROWTH, _DECIDE_GROWTH = 1.1, 1.02
"""Ranges, or with `search.stop.regret` setups too, are judged again with so many times the complete ones."""

_log = logging.getLogger(__name__)


class Record(Protocol):
    """What asking needs of a study's record."""

    def trials(self) -> list[TrialRow]:
        """Return every trial so far."""

    def curves(self, numbers: Sequence[int]) -> Mapping[int, Mapping[int, float]]:
        """Return the validation accuracy by epoch of the trials with these numbers."""

    def take_waiting(self, size: int, pack: str, aside: Collection[str] = ()) -> list[Trial]:
        """Start up to `size` waiting trials of one setup, maybe none. None of those aside."""

    def start(self, setup: Setup, params: Sequence[Params], pack: str) -> list[Trial]:
        """Start new trials of one setup."""

    def stop_setups(self, reasons: Mapping[str, str]) -> None:
        """Take why setups, by their keys, get no more trials. All others do."""

    def widenings(self) -> Sequence[Widening]:
        """Return how ranges were widened so far."""

    def widen(self, widening: Widening) -> StudySpec:
        """Widen a range; return the spec that holds from now on."""


class PackAsker:
    """Asks for packs: first the trials that wait to be run again, then what the spec's sampler proposes.

    Before it asks, it judges from the trials which ranges are to be widened and which setups are decided.

    Args:
        spec: The study's spec, its ranges as they are now.
        record: Its record.
        earlier: The studies that `search.warm_start` names; they too tell whether a setup is decided.
    """

    def __init__(self, spec: StudySpec, record: Record, earlier: Sequence[EarlierStudy] = ()) -> None:
        self._spec = spec
        self._earlier = earlier
        self._record = record
        self._proposer = build_proposer(spec, earlier)
        self._judged_at: int | None = None
        self._decisions: dict[str, str] = {}
        self._aside: dict[str, str] = {}

    def set_aside(self, reasons: Mapping[str, str]) -> None:
        """Ask for no more trials of the given setups.

        A call replaces the setups of the call before; `reasons` are by the setups' keys.
        """
        self._aside = dict(reasons)
        self._record.stop_setups(self._closed)

    @property
    def _closed(self) -> dict[str, str]:
        """Why setups get no more trials, by their keys."""
        return {**self._decisions, **self._aside}

    def ask(self, name: str, room: int) -> Pack | None:
        """Start the trials of the next pack, at most `room` of them. None where no setup gets more.

        Args:
            name: The pack's name, unique in the study.
            room: How many trials the budget still allows; at least 1.
        """
        size = min(self._spec.pack_size, room)
        started = self._record.take_waiting(size, name, self._aside)
        rows = self._record.trials()
        if not started:
            self._judge(rows)
            if len(self._closed) == len(self._spec.setups()):
                return None
            proposal = self._proposer.propose(rows, size, self._closed)
            started = self._record.start(proposal.setup, proposal.params, name)
        alike = self._alike(started[0], rows)
        return self._floored(Pack(name, started, given_up=self._given_up(started, alike)), alike)

    def _judge(self, rows: Sequence[TrialRow]) -> None:
        """Widen ranges and decide setups where enough new trials say so."""
        n_complete = sum(row.state == "complete" for row in rows)
        if not self._is_due(n_complete):
            return
        is_first, self._judged_at = self._judged_at is None, n_complete
        search, decisions = self._spec.search, dict[str, str]()
        if search.stop.regret is not None or search.widen:
            response = fit_response(self._spec, rows, earlier=self._earlier)
            widenings = find_widenings(response, self._record.widenings())
            self._widen(widenings)
            if search.stop.regret is not None and not widenings:  # none is decided where there is new room
                found = forecast_of(response, regret=search.stop.regret)
                decisions = found.decisions(self._spec.setups())
        is_new = is_first or decisions.keys() != self._decisions.keys()
        self._decisions = decisions
        if is_new:
            self._record.stop_setups(self._closed)

    def _is_due(self, n_complete: int) -> bool:
        """Return whether there are enough new trials. The judgement costs more the more there are."""
        if self._judged_at is None:
            return True
        if len(self._closed) == len(self._spec.setups()):  # what still ran may undo the study's end
            return n_complete != self._judged_at
        growth = _DECIDE_GROWTH if self._spec.search.stop.regret is not None else _JUDGE_GROWTH
        return n_complete != self._judged_at and n_complete >= growth * self._judged_at

    def _widen(self, widenings: Sequence[Widening]) -> None:
        for widening in widenings:
            _log.info("Widened %s", widening)
            self._spec = self._record.widen(widening)
        if widenings:
            self._proposer = build_proposer(self._spec, self._earlier)

    def _alike(self, trial: Trial, rows: Sequence[TrialRow]) -> list[TrialRow]:
        """Return the ended trials of the same setup and length."""
        return [
            row
            for row in trials_of(trial.setup, rows)
            if row.state in ("complete", "pruned") and asked_epochs(self._spec, row) == trial.epochs
        ]

    def _floored(self, pack: Pack, alike: Sequence[TrialRow]) -> Pack:
        """Return the pack with the floors that its pruner sets.

        They follow from the latest trials of the same setup and length.
        """
        search, training = self._spec.search, pack.trials[0].spec.training
        if search.pruner not in FLOORED:
            return pack
        latest = list(self._record.curves([row.number for row in alike[-MAX_CURVES:]]).values())
        floored = replace(pack, floors=floors_of(search.pruner, latest, training))
        if search.pruner != "hopeless" or not floored.floors:
            return floored
        audited = audited_of([trial.number for trial in pack.trials], search.seed)
        return replace(floored, audited=audited, line=line_of(latest, training.epochs) or 0.0)

    def _given_up(self, started: Sequence[Trial], alike: Sequence[TrialRow]) -> Sequence[int]:
        """Return the numbers of trials whose point lost already, by `search.pruner: wilcoxon`."""
        if self._spec.search.pruner != "wilcoxon":
            return ()
        lost = outranked([trial.params for trial in started], alike)
        return [trial.number for trial, is_lost in zip(started, lost, strict=True) if is_lost]
