"""Teachers of the same recipe, but of other data or code. Imports no torch."""

import logging
from collections.abc import Iterator
from pathlib import Path

from kdsearch.artifacts.store import ArtifactStore
from kdsearch.distill.teachers.recipes import TeacherRecipe
from kdsearch.distill.teachers.records import RECORD_FILE, TEACHERS, WEIGHTS_FILE, TeacherRecord, load_record
from kdsearch.errors import KDSearchError

_MOST = 10_000  # records that are read, by hand: a few seconds where a store is large
_log = logging.getLogger(__name__)


def stand_in(recipe: TeacherRecipe, store: ArtifactStore) -> TeacherRecord | None:
    """Return an earlier teacher if the recipe's pretraining data are not here.

    It is the one that agrees in all that is known here.
    """
    if not recipe.pretraining_data_are_unknown:
        return None
    known = recipe.to_dict()
    for relative in _relatives(recipe, store):
        teacher = {**relative.recipe["teacher"]}
        pretraining = {**teacher["pretraining"]}
        pretraining.pop("content", None)
        if {**relative.recipe, "teacher": {**teacher, "pretraining": pretraining}} == known:
            return relative
    return None


def say_what_changed(recipe: TeacherRecipe, store: ArtifactStore) -> None:
    """Log that a teacher is trained anew though a similar one exists.

    That one has the same recipe, but other data or code.
    """
    other = next(_relatives(recipe, store), None)
    if other is not None:
        _log.warning(
            "The data, the code or the files of teacher %s are others now, or an earlier version made it: "
            "teacher %s is trained in its place, from the data set %s as it is.",
            *(other.digest[:12], recipe.digest[:12], recipe.dataset.name),
        )


def _relatives(recipe: TeacherRecipe, store: ArtifactStore) -> Iterator[TeacherRecord]:
    """Yield this node's records that say the same, the newest first."""
    folders = sorted((store.root / TEACHERS).glob(f"*/{RECORD_FILE}"), key=_written, reverse=True)
    for file in folders[:_MOST]:
        try:
            record = load_record(file.parent)
        except KDSearchError:  # who needs it says so
            continue
        has_weights = (file.parent / WEIGHTS_FILE).exists()
        if record and has_weights and record.digest != recipe.digest and recipe.is_like(record.recipe):
            yield record


def _written(file: Path) -> float:
    return file.stat().st_mtime
