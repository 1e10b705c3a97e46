"""What earlier studies say about a new one.

The model learns how much of temperature's effect the setups share, with one share for all in which two
studies differ. So an earlier study that agrees with the new trials is trusted, and one that does not is
forgotten. Its trials are never counted as the new study's. How much is shared before any trial says so is the
prior of `kernels.py` (`_FADING`, `_OWN_SHARE_LOGIT`).
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kdsearch.analysis.response.observations import Observations, observe
from kdsearch.analysis.response.space import ResponseSpace
from kdsearch.errors import RequestError, RunError
from kdsearch.spec import StudySpec, level_label
from kdsearch.storage import Database, TrialRow, list_studies, load_spec_of, load_trials

_MOST_EACH, _MOST_IN_ALL = 200, 600
"""Trials, by hand: the model's cost is their cube, and the last hundred of a study say little more."""


@dataclass(frozen=True)
class EarlierStudy:
    """A study that was run before, and its trials."""

    spec: StudySpec
    trials: Sequence[TrialRow]


def load_warm_start(database: Database, spec: StudySpec) -> list[EarlierStudy]:
    """Return the studies that a spec's `search.warm_start` names.

    Raises:
        RequestError: One of them is unknown, or the study itself; the message lists the others.
    """
    known = [study.name for study in list_studies(database) if study.name != spec.name]
    for name in spec.search.warm_start:
        if name not in known:
            raise RequestError(
                f"`search.warm_start` must name other studies of this database, got {name!r}. "
                f"Known: {', '.join(known) or 'none'}."
            )
    return load_earlier(database, spec.search.warm_start)


def load_prior(database: Database, spec: StudySpec) -> list[EarlierStudy]:
    """Return the studies that a spec's `search.warm_start` names.

    Those that the database does not have are left out.
    """
    if not spec.search.warm_start:
        return []
    known = {study.name for study in list_studies(database)}
    return load_earlier(database, [name for name in spec.search.warm_start if name in known])


def load_earlier(database: Database, names: Sequence[str] | None) -> list[EarlierStudy]:
    """Return studies of the database by name, or all of them. The same trials are there once.

    A study may be named twice, and its runs may be imported under another name: of copies, that with most
    trials is kept.

    Raises:
        RequestError: There is no such study; the message lists those there are.
    """
    if names is None:
        names = [study.name for study in list_studies(database)]
    return _without_copies([_load_one(database, name) for name in dict.fromkeys(names)])


def _without_copies(studies: Sequence[EarlierStudy]) -> list[EarlierStudy]:
    """Return studies without those whose trials are all in another: counted twice, they look sure."""
    runs = [_runs_of(study) for study in studies]

    def is_copy(place: int) -> bool:
        mine = runs[place]
        return bool(mine) and any(
            mine <= others and (mine < others or other < place)
            for other, others in enumerate(runs)
            if other != place
        )

    return [study for place, study in enumerate(studies) if not is_copy(place)]


def _runs_of(study: EarlierStudy) -> frozenset[Hashable]:
    """Return what tells a study's complete trials from others: what was drawn, and what came of it.

    Factors are left out: a file of runs may name them otherwise, or not at all.
    """
    return frozenset(
        (row.val_accuracy, *sorted(map(_as_text, row.params.values())))
        for row in study.trials
        if row.state == "complete"
    )


def _as_text(value: Any) -> str:
    return level_label(float(value) if isinstance(value, int) else value)


def _load_one(database: Database, name: str) -> EarlierStudy:
    try:
        return EarlierStudy(load_spec_of(database, name), load_trials(database, name))
    except RunError as error:
        raise RunError(
            f"The study {name!r} can't be drawn from; name others with --study. {error}"
        ) from error


def observe_earlier(space: ResponseSpace, earlier: Sequence[EarlierStudy]) -> list[Observations]:
    """Return what each earlier study says on the space's axes.

    At most 200 trials of a study and 600 of all have a say, evenly chosen.
    """
    most = min(_MOST_EACH, _MOST_IN_ALL // max(1, len(earlier)))
    found = [observe(study.spec, space, study.trials, n)[0] for n, study in enumerate(earlier, start=1)]
    return [_thinned(observations, most) for observations in found]


def _thinned(observations: Observations, most: int) -> Observations:
    count = len(observations)
    if count <= most:
        return observations
    return observations.take(np.linspace(0, count - 1, most).astype(np.intp))


def joined(own: Observations, earlier: Sequence[Observations]) -> Observations:
    """Return a study's observations with those of earlier studies.

    Each earlier one is moved to the same mean accuracy. Only the shape of the response is to carry over: on
    other data, accuracies lie elsewhere.
    """
    parts = [part for part in (own, *earlier) if len(part)]
    if not earlier or not parts:
        return own
    level = _level(parts[0])
    return Observations(
        setup=np.concatenate([part.setup for part in parts]),
        nodes=np.concatenate([part.nodes for part in parts]),
        points=np.concatenate([part.points + (level - _level(part)) for part in parts]),
        reached=np.concatenate([part.at_least + (level - _level(part)) for part in parts]),
    )


def _level(observations: Observations) -> float:
    """Return the mean of the setups' median accuracies, in points. 0 where every trial diverged."""
    finite = observations.take(np.flatnonzero(~np.isnan(observations.points)))
    medians = [np.median(finite.points[finite.setup == s]) for s in np.unique(finite.setup)]
    return float(np.mean(medians)) if medians else 0.0
