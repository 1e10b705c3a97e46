"""What stays in memory between the packs of a process: data, views, teachers and their logits."""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from kdsearch.distill.data import ImageData, load_dataset
from kdsearch.distill.views import Batch, Views
from kdsearch.spec import TrainingSpec
from kdsearch.spec.sections import Augment

_PLAIN = Augment()
_KEPT = 8
_EVALUATION_BATCH = 512
Value = TypeVar("Value")


class Residents:
    """A bounded memory of what is costly to make; the least recently used goes first."""

    def __init__(self, kept: int = _KEPT) -> None:
        self._kept = kept
        self._values: OrderedDict[Any, Any] = OrderedDict()

    def get(self, key: Any, make: Callable[[], Value]) -> Value:
        """Return the value of a key, made only where it is not here."""
        if key not in self._values:
            self._values[key] = make()
        self._values.move_to_end(key)
        while len(self._values) > self._kept:
            self._values.popitem(last=False)
        value: Value = self._values[key]
        return value


class Surroundings:
    """The data of one training spec on one device."""

    def __init__(self, spec: TrainingSpec, device: torch.device) -> None:
        self.data: ImageData = load_dataset(spec.dataset)
        mean, std = self.data.mean, self.data.std
        self.views = Views(self.data.train, spec.augment, mean, std, device)
        self.validation = Views(self.data.validation, _PLAIN, mean, std, device)
        self.test = Views(self.data.test, _PLAIN, mean, std, device)


class TeacherSide:
    """A teacher's logits on the training views of any epoch and on the validation split."""

    def __init__(
        self, recipe: Any, surroundings: Surroundings, artifacts: Path, device: torch.device
    ) -> None:
        from kdsearch.distill.teachers import ensure_teacher, load_teacher

        record = ensure_teacher(recipe, artifacts, device)
        self._model = load_teacher(record).to(device).eval()
        self._views = surroundings.views
        self._epochs: dict[tuple[int, int], Tensor] = {}
        with torch.no_grad():
            batches = surroundings.validation.plain_batches(_EVALUATION_BATCH)
            self.validation_logits: Float[Tensor, "N C"] = torch.cat(
                [self._model(batch.images) for batch in batches]
            )

    @torch.no_grad()
    def logits(self, view_seed: int, epoch: int, batch: Batch) -> Float[Tensor, "B C"]:
        """Return the teacher's logits on a batch of the training views."""
        key = (view_seed, epoch)
        if key not in self._epochs:
            index = torch.split(torch.arange(len(self._views)), _EVALUATION_BATCH)
            found = [self._model(self._views.batch(view_seed, epoch, part).images) for part in index]
            self._epochs[key] = torch.cat(found)
        return self._epochs[key][batch.index]


_RESIDENTS = Residents()


def surroundings_of(spec: TrainingSpec, device: torch.device) -> Surroundings:
    """Return the data and views of a spec, from memory where they are there."""
    key = (spec.dataset.model_dump_json(), spec.augment.model_dump_json(), str(device))
    return _RESIDENTS.get(key, lambda: Surroundings(spec, device))


def teacher_side_of(spec: TrainingSpec, artifacts: Path, device: torch.device) -> TeacherSide:
    """Return the teacher of a spec beside its data, trained first where nobody has trained it."""
    from kdsearch.distill.teachers import recipe_of

    recipe = recipe_of(spec)
    key = (recipe.digest, spec.augment.model_dump_json(), str(artifacts), str(device))
    surroundings = surroundings_of(spec, device)
    return _RESIDENTS.get(key, lambda: TeacherSide(recipe, surroundings, artifacts, device))
