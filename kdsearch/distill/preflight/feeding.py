"""Whether a checkpoint's teacher is fed with what it was trained on: its file does not say so."""

import torch

from kdsearch.distill.data.dataset import ImageData
from kdsearch.distill.teachers.calibration import accuracy
from kdsearch.distill.views.batches import Batch, Views
from kdsearch.distill.weights.prepared_networks import build_prepared
from kdsearch.distill.weights.starts import load_checkpoint
from kdsearch.errors import RequestError
from kdsearch.spec import TrainingSpec
from kdsearch.spec.sections import Augment, Preprocessing, Pretraining, Teacher

_N_IMAGES = 64
"""By hand: a large network takes some seconds for so many on a CPU."""

_CLEARLY = 0.15
"""By hand: nearly ten of the images, which are the same for all; finer differences are for the user."""

_USUAL = {
    "{mean: [0], std: [1]}": Preprocessing(mean=[0.0], std=[1.0]),
    "{mean: [0.5], std: [0.5]}": Preprocessing(mean=[0.5], std=[0.5]),
    "{mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}": Preprocessing(
        mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]
    ),
}
"""What scripts normalise by: ToTensor alone, halves, and ImageNet's values."""


def check_feeding(spec: TrainingSpec, data: ImageData) -> list[str]:
    """Return how many images a teacher gets right that is a checkpoint's as it is. Nothing of others.

    Raises:
        RequestError: It gets clearly more of them right with pixels normalised as many scripts do, and the
            study file leaves open how they are.
    """
    teacher, path = spec.teacher, _checkpoint_as_it_is(spec.teacher)
    if path is None or not spec.objective.alpha or data.vocabulary is not None:
        return []
    batch = _some(data)
    share = _right(teacher, path, data, batch)
    if teacher.preprocessing == "auto" and share + _CLEARLY < 1:
        _refuse_other_pixels(teacher, path, data, batch, share)
    n = len(batch.labels)
    return [f"teacher: the checkpoint as it is fed gets {share:.0%} of {n} validation images right"]


def _refuse_other_pixels(teacher: Teacher, path: str, data: ImageData, batch: Batch, share: float) -> None:
    fed = {text: teacher.model_copy(update={"preprocessing": usual}) for text, usual in _USUAL.items()}
    others = {text: _right(other, path, data, batch) for text, other in fed.items()}
    text = max(others, key=others.__getitem__)
    if others[text] > share + _CLEARLY:
        raise RequestError(
            "`teacher.preprocessing` must be what the checkpoint was trained on. With `auto`, the data's own "
            f"mean and deviation, it gets {share:.0%} of {len(batch.labels)} validation images right, "
            f"with {text} {others[text]:.0%}. Set that, or `data` for the data's own."
        )


def _checkpoint_as_it_is(teacher: Teacher) -> str | None:
    """Return the checkpoint of a teacher that is not trained here."""
    source, finetune = teacher.pretraining, teacher.finetune
    if not isinstance(source, Pretraining) or finetune.epochs or finetune.head_epochs:
        return None
    return source.checkpoint


def _some(data: ImageData) -> Batch:
    """Return validation images, evenly taken."""
    n = min(_N_IMAGES, len(data.validation))
    views = Views(data.validation, Augment(), data.mean, data.std)
    return views.batch(0, 0, torch.arange(n) * len(data.validation) // n)


def _right(teacher: Teacher, path: str, data: ImageData, batch: Batch) -> float:
    """Return the share of images that a teacher gets right."""
    model = build_prepared(teacher, data).eval()
    load_checkpoint(model, path, new_stem=teacher.stem == "small")
    with torch.no_grad():
        return accuracy(model(batch.images), batch.labels)
