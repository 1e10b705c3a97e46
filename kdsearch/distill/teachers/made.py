"""Teachers: each recipe trained once, kept under its digest, and measured."""

import errno
import json
import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdsearch.artifacts.files import exclusive
from kdsearch.artifacts.store import ArtifactStore, Place, store_at
from kdsearch.distill.data.dataset import ImageData, Split, load_dataset
from kdsearch.distill.data.fingerprints import data_fingerprint
from kdsearch.distill.data.sources.loading import load_source
from kdsearch.distill.devices import chosen_device, on_device
from kdsearch.distill.execution import is_foreign, remembers
from kdsearch.distill.models import layout_of
from kdsearch.distill.models.batches_of_one import check_batch_size
from kdsearch.distill.optim.optimizers import keeps_more
from kdsearch.distill.randomness import seeded, stream
from kdsearch.distill.teachers.calibration import accuracy, calibration_error, soft_target_entropy
from kdsearch.distill.teachers.class_order import exchanged_classes
from kdsearch.distill.teachers.loading import load_teacher, load_weights_of
from kdsearch.distill.teachers.recipes import TeacherRecipe, is_known_by_name, pretraining_data, recipe_of
from kdsearch.distill.teachers.records import (
    RECORD_FILE,
    TEACHERS,
    WEIGHTS_FILE,
    TeacherRecord,
    find_record,
    teacher_entry,
)
from kdsearch.distill.teachers.relatives import say_what_changed, stand_in
from kdsearch.distill.teachers.setting_paths import errors_about
from kdsearch.distill.teachers.supervised import SupervisedTraining, finetune_of
from kdsearch.distill.tensor_bytes import tensor_bytes
from kdsearch.distill.views.batches import Views
from kdsearch.distill.weights.prepared_networks import build_prepared, preparation_of
from kdsearch.distill.weights.published import load_published
from kdsearch.distill.weights.starts import Start, fresh, load_checkpoint, load_weights, refuse_untrained
from kdsearch.errors import RequestError, RunError
from kdsearch.spec.sections import Augment, Finetune, Pretraining, Teacher

__all__ = [
    "TeacherRecipe",
    "TeacherRecord",
    "ensure_teacher",
    "load_start",
    "load_teacher",
    "load_weights_of",
    "recipe_of",
]

TEMPERATURES = (1, 2, 4, 8, 16, 40)
"""Over the usual range, each twice the last: how soft a teacher is, in its record."""

_RESUME_FILE = "resume.pt"
_EVALUATION_BATCH = 512  # by hand: it keeps a device busy, and without gradients takes little of its memory
_N_TRIED = 4  # images on which networks are compared
_ROUNDING = 1e-3  # of logits; what a network forgets changes more
_log = logging.getLogger(__name__)
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)


def ensure_teacher(
    recipe: TeacherRecipe, artifacts: Place, device: torch.device | str | None = None
) -> TeacherRecord:
    """Return a recipe's teacher, trained now if it never was.

    Of processes that ask at once, one trains. That holds for all that share a folder; at a URL for those of a
    node, and two nodes may both train.

    Args:
        recipe: What decides the weights.
        artifacts: The folder or the URL of the artifact store.
        device: Where to train; None stands for CUDA where there is one.

    Raises:
        RequestError: The recipe's data or weights can't be had.
        RunError: The training diverged, what is stored is damaged, or it can't be stored.
    """
    store = store_at(artifacts)
    with errors_about(recipe.role), _storable(store):
        record = find_record(store, recipe.digest, WEIGHTS_FILE) or stand_in(recipe, store)
        if record is None:
            recipe = _with_data_at_hand(recipe)
            entry = teacher_entry(recipe.digest)
            with exclusive(store.root / entry):
                record = find_record(store, recipe.digest, WEIGHTS_FILE)
                if record is None:
                    if not store.recover(entry):
                        say_what_changed(recipe, store)
                        _Making(recipe, artifacts, chosen_device(device)).run()
                    record = find_record(store, recipe.digest, WEIGHTS_FILE)
    if record is None:
        raise RunError(f"The teacher in {store.address(entry)} has vanished. Let nothing else write there.")
    return record


def _with_data_at_hand(recipe: TeacherRecipe) -> TeacherRecipe:
    """Return a recipe whose digest knows its data. They are downloaded first where a spec allows it."""
    pretraining = recipe.teacher.pretraining
    used = [recipe.dataset]
    if isinstance(pretraining, Pretraining) and pretraining.dataset is not None:
        used.append(pretraining_data(pretraining, recipe.dataset))
    for dataset in used:
        if dataset.download and not is_known_by_name(dataset.name) and data_fingerprint(dataset) is None:
            load_source(dataset)
    return replace(recipe)


@contextmanager
def _storable(store: ArtifactStore) -> Iterator[None]:
    """Say what to do where a teacher's files can't be written."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise RunError(
            f"A teacher could not be stored in {store.root / TEACHERS}: {error.strerror}. "
            f"Free space there or name another folder in {store.setting}, and launch again."
        ) from error


def load_start(
    model: nn.Module, recipe: TeacherRecipe, data: ImageData, artifacts: Place, device: torch.device | str
) -> Start:
    """Load the weights of a recipe's pretraining.

    The pretraining is run here first where the recipe says so.

    Args:
        model: The network, freshly initialised; a head of other classes stays so.
        recipe: Names the pretraining.
        data: The images that the network is for.
        artifacts: The folder or the URL of the artifact store.
        device: Where a pretraining is run.

    Returns:
        What stays as it was drawn.
    """
    pretraining = recipe.teacher.pretraining
    if not isinstance(pretraining, Pretraining):
        return fresh(model)
    small_stem = recipe.teacher.stem == "small"
    size = preparation_of(recipe.teacher, data).size
    if pretraining.weights is not None:
        seen = replace(data, image_size=size)
        weights = pretraining.weights
        return load_published(
            model, recipe.teacher.arch, weights, seen, new_stem=small_stem, is_prepared=True
        )
    if pretraining.checkpoint is not None:
        start = load_checkpoint(model, pretraining.checkpoint, new_stem=small_stem)
        if start.note is not None:
            _log.warning("%s.", start.note)
        return start
    finetune = finetune_of(pretraining, model, pretraining.epochs or 0)
    first = _first_recipe(pretraining, recipe, replace(data, image_size=size), finetune)
    record = ensure_teacher(first, artifacts, device)
    return load_weights(model, load_weights_of(record), source=record.path, new_head=True)


def _first_recipe(
    pretraining: Pretraining, recipe: TeacherRecipe, data: ImageData, finetune: Finetune
) -> TeacherRecipe:
    """Return the recipe of a pretraining on a data set. Its images are made like the study's."""
    teacher = recipe.teacher
    own = pretraining_data(pretraining, recipe.dataset)
    size = data.image_size if data.vocabulary is None else None
    dataset = own.model_copy(update={"image_size": size})
    first = Teacher(arch=teacher.arch, stem=teacher.stem, seed=teacher.seed, finetune=finetune)
    return TeacherRecipe(dataset, recipe.augment, first, data.in_channels, role="pretraining")


class _Making:
    """The making of one recipe's teacher, from its data to its record."""

    def __init__(self, recipe: TeacherRecipe, artifacts: Place, device: torch.device) -> None:
        self._recipe = recipe
        self._artifacts = artifacts
        self._store = store_at(artifacts)
        self._device = device
        self._data = load_dataset(recipe.dataset, in_channels=recipe.in_channels)

    def run(self) -> None:
        """Train the teacher, measure it and put both into the store."""
        start = time.perf_counter()
        with on_device(self._device):
            training = self._trained()
            measured = self._measured(training.model)
        record = {**measured, "seconds": time.perf_counter() - start}
        weights = {name: value.cpu() for name, value in training.model.state_dict().items()}
        files: dict[str, bytes | memoryview] = {WEIGHTS_FILE: tensor_bytes(weights)}
        if _can_go_on(self._recipe):
            files[_RESUME_FILE] = tensor_bytes(training.state_dict())
        files[RECORD_FILE] = json.dumps(record, indent=1).encode()
        self._store.keep(teacher_entry(self._recipe.digest), files)

    def _trained(self) -> SupervisedTraining:
        recipe, data = self._recipe, self._data
        model = self._fresh_model().to(self._device)
        self._check_batch_size(model)
        views = Views(data.train, recipe.augment, data.mean, data.std, self._device)
        teacher = recipe.teacher
        shorter = None if self._remembers(model, views) else self._shorter_training()
        if shorter is None:
            start = load_start(model, recipe, data, self._artifacts, self._device)
            refuse_untrained(start, recipe.teacher.finetune)
        training = SupervisedTraining(
            model, views, teacher.finetune, seed=teacher.seed, layout=layout_of(teacher.arch)
        )
        if shorter is None:
            training.train_head()
        else:
            training.load_state_dict(torch.load(shorter, map_location=self._device, weights_only=True))
        training.train()
        self._check_state(model, views)
        return training

    def _check_batch_size(self, model: nn.Module) -> None:
        data, finetune = self._data, self._recipe.teacher.finetune
        if finetune.epochs:
            check_batch_size(model, data.inputs, finetune.batch_size, len(data.train), "finetune.batch_size")

    def _fresh_model(self) -> nn.Module:
        teacher = self._recipe.teacher
        return build_prepared(teacher, self._data, stream(teacher.seed, "teacher"))

    def _shorter_training(self) -> Path | None:
        """Return the longest shorter training's state that can be continued."""
        if not _can_go_on(self._recipe):
            return None
        made = self._store.entries(TEACHERS)
        for epochs in range(self._recipe.teacher.finetune.epochs - 1, 0, -1):
            digest = self._recipe.with_epochs(epochs).digest
            folder = self._store.find(teacher_entry(digest), _RESUME_FILE) if digest in made else None
            if folder is not None and (folder / _RESUME_FILE).exists():
                return folder / _RESUME_FILE
        return None

    def _remembers(self, model: nn.Module, views: Views) -> bool:
        """Return whether a training's state lacks what a user's network or optimizer keeps."""
        return keeps_more(self._recipe.teacher.finetune.optimizer) or remembers(model, _few(views))

    def _check_state(self, model: nn.Module, views: Views) -> None:
        """Refuse a network that is another one where its weights are loaded anew, as they will be."""
        if not is_foreign(model):
            return
        again = self._fresh_model().to(self._device).eval()
        again.load_state_dict(model.state_dict())
        images = _few(views)
        expected, found = (self._seeded_logits(own, images) for own in (model, again))
        if not torch.allclose(found, expected, rtol=_ROUNDING, atol=_ROUNDING * float(expected.abs().max())):
            raise RequestError(
                "`arch` must keep all that it learns in its state dict, got "
                f"{self._recipe.teacher.arch!r}, which gives other logits once its weights are loaded anew. "
                "Let it keep what it changes in parameters and persistent buffers."
            )

    @torch.no_grad()
    def _seeded_logits(self, model: nn.Module, images: Tensor) -> Tensor:
        """Return logits, the same ones where a network draws at random."""
        with seeded(0, self._device):
            logits: Tensor = model(images)
        return logits.float()

    def _measured(self, model: nn.Module) -> dict[str, Any]:
        data = self._data
        splits = (data.train, data.validation, data.test)
        train, validation, test = (self._logits(model, split) for split in splits)
        self._check_predictions(train)
        entropy = {str(t): soft_target_entropy(train, float(t)) for t in TEMPERATURES}
        return {
            "digest": self._recipe.digest,
            "recipe": self._recipe.to_dict(),
            "num_classes": data.num_classes,
            "in_channels": data.in_channels,
            "image_size": data.image_size,
            "vocabulary": data.vocabulary,
            "preparation": self._preparation(),
            "n_parameters": sum(parameter.numel() for parameter in model.parameters()),
            "train_accuracy": accuracy(train, data.train.labels),
            "val_accuracy": accuracy(validation, data.validation.labels),
            "test_accuracy": accuracy(test, data.test.labels),
            "calibration_error": calibration_error(validation, data.validation.labels),
            "entropy": entropy,
            "relative_entropy": {t: nats / math.log(data.num_classes) for t, nats in entropy.items()},
        }

    def _check_predictions(self, logits: Tensor) -> None:
        """Refuse a given teacher with other classes. Warn of any that only guesses."""
        data, finetune = self._data, self._recipe.teacher.finetune
        labels = data.train.labels
        circle = [] if finetune.epochs + finetune.head_epochs else exchanged_classes(logits, labels)
        if circle:
            names = [repr(data.classes[index]) for index in (*circle[:3], circle[0])]
            taken = ", ".join(f"{one} for {other}" for one, other in pairwise(names[: len(circle) + 1]))
            raise RequestError(
                "`pretraining` must give a teacher whose classes are in the data's order, got one that takes "
                f"most training examples of {taken}. Put its head's rows into the order of `kdsearch data`."
            )
        right, guessed = accuracy(logits, labels), float(torch.bincount(labels).max()) / len(labels)
        if right <= guessed:
            _log.warning(
                "The teacher %s answers %.1f%% of its training examples right, no more than a guess of the "
                "commonest class (%.1f%%): nothing can be learned from it. Check its weights, its classes, "
                "and what `teacher.preprocessing` feeds it with.",
                *(self._recipe.digest[:12], 100 * right, 100 * guessed),
            )

    def _preparation(self) -> dict[str, Any]:
        """Return how the teacher's images are prepared. The data's own mean and deviation are included."""
        data = self._data
        found = asdict(preparation_of(self._recipe.teacher, data))
        return {**found, "data_mean": data.mean, "data_std": data.std}

    @torch.no_grad()
    def _logits(self, model: nn.Module, split: Split) -> Tensor:
        views = Views(split, Augment(), self._data.mean, self._data.std, self._device)
        batches = views.plain_batches(_EVALUATION_BATCH)
        logits = torch.cat([model(batch.images).float().cpu() for batch in batches])
        if not bool(torch.isfinite(logits).all()):
            raise RequestError(
                "`pretraining` must give weights whose logits are finite on the study's images, got NaN or "
                "infinity. Take other weights, or finetune at a lower `finetune.lr`."
            )
        return logits


def _few(views: Views) -> Tensor:
    return views.plain(torch.arange(min(_N_TRIED, len(views))))


def _can_go_on(recipe: TeacherRecipe) -> bool:
    """Return whether a longer training begins exactly as a shorter one: with a constant schedule."""
    return recipe.teacher.finetune.schedule == "constant" and recipe.teacher.finetune.epochs > 0
