"""A study's Optuna half as JSON documents, and back."""

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from kdsearch.errors import RequestError
from kdsearch.storage.mirror.frozen import frozen_document, frozen_of_document
from kdsearch.storage.mirror.store import STUDY_ATTRIBUTE, optuna_name

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

_OF_TRIAL = re.compile(r"(dashboard:)(\d+)(:.*)", re.DOTALL)
"""Where the dashboard keeps a trial's note: among its study's attributes, under the trial's id."""


def read_optuna(storage: "RDBStorage", uid: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return an Optuna study of ours and its trials as JSON documents.

    Raises:
        RequestError: The Optuna study was deleted.
    """
    name = optuna_name(storage, uid)
    if name is None:
        raise RequestError(
            "`study` must have its trials in Optuna too, and they were deleted. Launch it again: "
            "that restores them."
        )
    study = storage.get_study_id_from_name(name)
    trials = storage.get_all_trials(study, deepcopy=False)
    numbers = {trial._trial_id: trial.number for trial in trials}
    about = {
        "name": name,
        "user_attrs": storage.get_study_user_attrs(study),
        "system_attrs": _renamed(storage.get_study_system_attrs(study), numbers),
    }
    return about, [frozen_document(trial) for trial in trials]


def write_optuna(
    storage: "RDBStorage", uid: str, about: Mapping[str, Any], trials: Iterable[Mapping[str, Any]]
) -> None:
    """Make the Optuna study that `read_optuna` told of, in place of the one that is there.

    Raises:
        RequestError: Another Optuna study has its name.
    """
    remove_optuna(storage, uid)  # half of it, from a try or an import that was interrupted
    study = _new_study(storage, about["name"])
    for key, value in {STUDY_ATTRIBUTE: uid, **about["user_attrs"]}.items():
        storage.set_study_user_attr(study, key, value)
    ids = {
        trial["number"]: storage.create_new_trial(study, template_trial=frozen_of_document(trial))
        for trial in trials
    }
    for key, value in _renamed(about["system_attrs"], ids).items():
        storage.set_study_system_attr(study, key, value)


def _new_study(storage: "RDBStorage", name: str) -> int:
    """Make an Optuna study. One of the name that has nothing in it was made by a try before."""
    from optuna.exceptions import DuplicatedStudyError
    from optuna.study import StudyDirection

    try:
        return storage.create_new_study([StudyDirection.MAXIMIZE], name)
    except DuplicatedStudyError as error:
        study = storage.get_study_id_from_name(name)
        has_use = storage.get_study_user_attrs(study) or storage.get_n_trials(study)
        if has_use or storage.get_study_directions(study) != [StudyDirection.MAXIMIZE]:
            raise RequestError(
                f"`directory` must hold a study whose name is free in Optuna too, got {name!r}. "
                "Import it into another database."
            ) from error
        return study


def remove_optuna(storage: "RDBStorage", uid: str) -> None:
    """Remove an Optuna study of ours, where there is one."""
    if name := optuna_name(storage, uid):
        storage.delete_study(storage.get_study_id_from_name(name))


def _renamed(attributes: Mapping[str, Any], names: Mapping[int, int]) -> dict[str, Any]:
    """Return a study's attributes under its trials' new numbers.

    Some of Optuna's attributes have the number of a trial in their name.
    """

    def rename(found: re.Match[str]) -> str:
        return f"{found[1]}{names.get(int(found[2]), -1)}{found[3]}"

    return {_OF_TRIAL.sub(rename, key): value for key, value in attributes.items()}
