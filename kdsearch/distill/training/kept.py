"""What stays in memory between the packs of a process: data, views, teachers and their logits."""

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kdsearch.artifacts.store import Place, store_at
from kdsearch.distill.data.dataset import ImageData, load_dataset
from kdsearch.distill.data.fingerprints import data_fingerprint
from kdsearch.distill.data.streaming.memory import memory_of
from kdsearch.distill.execution import Replayed, is_foreign, recorder_on
from kdsearch.distill.models import layout_of
from kdsearch.distill.teachers.made import TeacherRecipe, ensure_teacher, load_teacher, recipe_of
from kdsearch.distill.teachers.soft_targets import (
    EpochLogits,
    HeldLogits,
    SoftTargetStore,
    StreamedLogits,
    TargetsKey,
    view_fingerprint,
)
from kdsearch.distill.views.batches import Chunk, Views
from kdsearch.spec import TrainingSpec
from kdsearch.spec.sections import Augment, Training

EVALUATION_BATCH = 512  # by hand: it keeps a device busy, and without gradients takes little of its memory
_PLAIN = Augment()
_FLOAT_BYTES = 4  # of float32
_DATA_SETS, _TEACHERS = 2, 4  # by hand: consecutive packs share few, and each takes a device's memory
_KEPT_BYTES = 256 * 2**20  # of views, and of a teacher's logits
_SHARE_OF_A_GPU = 1 / 32  # for each of them; of all its memory, so that what is free decides nothing
Value = TypeVar("Value")


def kept_bytes(device: torch.device) -> int:
    """Return how many bytes of views stay on a device. As many bytes of a teacher's logits stay there."""
    if device.type != "cuda":
        return _KEPT_BYTES
    return max(_KEPT_BYTES, int(_SHARE_OF_A_GPU * memory_of(device).total))


def are_streamed(shape: tuple[int, int], device: torch.device) -> bool:
    """Return whether an epoch's logits are too large for a GPU.

    Their shape is [N, C]. Logits that are too large are brought there in parts.
    """
    return device.type == "cuda" and _FLOAT_BYTES * math.prod(shape) > kept_bytes(device)


class LruCache(Generic[Value]):
    """A bounded memory of costly values.

    What was unused for longest goes first.

    Args:
        bound: The total weight that is kept.
        weigh: A value's weight; each weighs 1 by default.
    """

    def __init__(self, bound: int, weigh: Callable[[Value], int] = lambda _: 1) -> None:
        self._bound = bound
        self._weigh = weigh
        self._values: OrderedDict[Hashable, Value] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return a key's value, made only if it is missing."""
        if key not in self._values:
            self._values[key] = make()
        self._values.move_to_end(key)
        value = self._values[key]
        while len(self._values) > 1 and sum(map(self._weigh, self._values.values())) > self._bound:
            self._values.popitem(last=False)
        return value


class SplitViews:
    """One training spec's data on one device, as three splits' views."""

    def __init__(self, spec: TrainingSpec, device: torch.device) -> None:
        self.data: ImageData = load_dataset(spec.dataset)
        mean, std = self.data.mean, self.data.std
        self.views = Views(self.data.train, spec.augment, mean, std, device)
        self.validation = Views(self.data.validation, _PLAIN, mean, std, device)
        self.test = Views(self.data.test, _PLAIN, mean, std, device)
        self.fingerprint = view_fingerprint(spec, self.data)
        value_bytes = 4 if self.data.vocabulary is None else 8
        self._epoch_bytes = len(self.views) * math.prod(self.data.inputs.shape) * value_bytes
        self._kept_bytes = kept_bytes(device)
        self._rendered: LruCache[list[Chunk]] = LruCache(self._kept_bytes, lambda _: self._epoch_bytes)

    def chunks(self, training: Training, epoch: int) -> Iterable[Chunk]:
        """Return an epoch's batches.

        Where a whole training's views are small, they are kept for later packs.
        """
        key = (training.view_seed, training.order_seed, epoch, training.batch_size)
        if training.epochs * self._epoch_bytes > self._kept_bytes:
            return self.views.chunks(*key)
        return self._rendered.get(key, lambda: list(self.views.chunks(*key)))


class TeacherLogits:
    """A frozen teacher's logits: on the training views of any epoch, and on the validation split.

    Args:
        recipe: The teacher's recipe; it is trained where nobody has trained it.
        split_views: The data.
        artifacts: The folder or the URL of the artifact store; logits are kept on this node.
        device: Where the teacher and the logits are held.
        cap_bytes: The bound on the stored logits of all teachers.
    """

    def __init__(
        self,
        recipe: TeacherRecipe,
        split_views: SplitViews,
        *,
        artifacts: Place,
        device: torch.device,
        cap_bytes: int,
    ) -> None:
        record = ensure_teacher(recipe, artifacts, device)
        teacher = load_teacher(record, device=device)
        self._layout = layout_of(recipe.teacher.arch)
        self._model = teacher.to(memory_format=self._layout).eval()
        recorder = None if is_foreign(self._model) else recorder_on(device)
        self._live = Replayed(partial(_logits_of, self._model, self._layout), recorder)
        self._views = split_views.views
        self._store = SoftTargetStore(store_at(artifacts).root / "soft_targets", cap_bytes=cap_bytes)
        shape = (len(self._views), split_views.data.num_classes)
        self._key = TargetsKey(Path(record.path).name, split_views.fingerprint, 0, shape)
        self._device = device
        self._kept_bytes = kept_bytes(device)
        self._loaded: LruCache[EpochLogits] = LruCache(self._kept_bytes, lambda logits: logits.nbytes)
        self._prepared: dict[int, bool] = {}
        self._stored = False
        images = (batch.images for batch in split_views.validation.plain_batches(EVALUATION_BATCH))
        self.validation_logits: Float[Tensor, "N C"] = torch.cat([self._live(part) for part in images])

    def prepare(self, epochs: int) -> None:
        """Decide whether logits are stored or computed as they come.

        It depends on the training's number of epochs.
        """
        if epochs not in self._prepared:
            self._prepared[epochs] = self._store.has_room_for(self._key, epochs)
        self._stored = self._prepared[epochs]

    def logits(self, training: Training, epoch: int, chunk: Chunk) -> Float[Tensor, "N C"]:
        """Return the teacher's logits on a chunk of an epoch's views."""
        views = chunk.whole
        if not self._stored:
            return torch.cat([self._live(part) for part in torch.split(views.images, EVALUATION_BATCH)])
        key = (training.view_seed, training.order_seed, epoch)
        loaded = self._loaded.get(key, lambda: self._load(*key))
        return loaded.part(chunk.start, chunk.start + len(views.labels))

    def _load(self, view_seed: int, order_seed: int, epoch: int) -> EpochLogits:
        """Return an epoch's stored logits in its order.

        Where they are too large for a GPU, they stay on the host.
        """
        key = replace(self._key, view_seed=view_seed)
        stored = self._store.get(key, epoch, lambda: self._whole_epoch(view_seed, epoch))
        order = self._views.order(order_seed, epoch)
        if are_streamed(self._key.shape, self._device):
            return StreamedLogits(stored, order, self._device)
        return HeldLogits(stored, order)

    def _whole_epoch(self, view_seed: int, epoch: int) -> Float[Tensor, "N C"]:
        batches = self._views.in_order(view_seed, epoch, EVALUATION_BATCH)
        logits = torch.cat([self._live(batch.images) for batch in batches])
        self._live.forget()  # recordings hold memory, and the logits are stored now
        return logits


@torch.no_grad()
def _logits_of(model: nn.Module, layout: torch.memory_format, images: Tensor) -> Tensor:
    logits: Tensor = model(images.contiguous(memory_format=layout))
    return logits


_SPLIT_VIEWS: LruCache[SplitViews] = LruCache(_DATA_SETS)
_TEACHER_LOGITS: LruCache[TeacherLogits] = LruCache(_TEACHERS)


def split_views_of(spec: TrainingSpec, device: torch.device) -> SplitViews:
    """Return a spec's data and views, from memory if they are there."""
    content = data_fingerprint(spec.dataset)
    key = (spec.dataset.model_dump_json(), content, spec.augment.model_dump_json(), str(device))
    return _SPLIT_VIEWS.get(key, lambda: SplitViews(spec, device))


def teacher_logits_of(
    spec: TrainingSpec, *, artifacts: Place, device: torch.device, cap_bytes: int
) -> TeacherLogits:
    """Return the logits of a spec's teacher on the spec's data.

    The teacher is trained first where nobody has done it.
    """
    recipe, split_views = recipe_of(spec), split_views_of(spec, device)
    key = (recipe.digest, split_views.fingerprint, str(artifacts), str(device), cap_bytes)

    def make() -> TeacherLogits:
        return TeacherLogits(recipe, split_views, artifacts=artifacts, device=device, cap_bytes=cap_bytes)

    side = _TEACHER_LOGITS.get(key, make)
    side.prepare(spec.training.epochs)
    return side
