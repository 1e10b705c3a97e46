"""How long a pack's epoch takes, estimated from a few steps."""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from kdsearch.distill.data.dataset import ImageData, load_dataset
from kdsearch.distill.training.train_pack import train_pack
from kdsearch.errors import KDSearchError
from kdsearch.spec import TrainingSpec
from kdsearch.trial import Metrics

_BATCHES = 6  # of an epoch that is measured
_EPOCHS = 3  # the first one also finds the way and records it
N_STEPS = 2 * _EPOCHS * _BATCHES
"""About how many batches of a pack a measurement takes, the choice of its way included."""


def expected_seconds(
    spec: TrainingSpec, size: int, device: torch.device, data: ImageData | None = None
) -> float | None:
    """Return about how long a pack's epoch will take, validation included.

    Students of random weights learn labels alone from a part of the data, in the way that packs of this
    kind are trained: no teacher is needed, and its stored logits cost little beside a student's step.

    Args:
        spec: The training.
        size: How many students train together.
        device: Where.
        data: The data set, where that is read already.

    Returns:
        Seconds; None where a part of the data is too little to train on, or every student diverges.
    """
    data = data or load_dataset(spec.dataset)
    n_train, n_validation = len(data.train), len(data.validation)
    n_part = min(n_train, _BATCHES * spec.training.batch_size)
    part = {
        "dataset.train_size": n_part,
        "dataset.validation_size": max(round(n_validation * n_part / n_train), 1),
        "student.init": "random",
        "objective.alpha": 0.0,
        "training.epochs": _EPOCHS,
        "training.warmup_epochs": 0,
    }
    watch = _Watch()
    with TemporaryDirectory(prefix="kdsearch-expected-") as folder:
        try:
            members = [{"seed": number} for number in range(size)]
            train_pack(spec.with_values(part), members, artifacts=Path(folder), device=device, report=watch)
        except _MeasuredError:
            pass
        except KDSearchError:  # a class without an example, say: what the launch has, has passed its checks
            return None
    if watch.epoch_s is None:  # all have diverged
        return None
    whole_s = watch.epoch_s * size / watch.size  # where the pack was halved for want of memory, say
    return whole_s * n_train / n_part


class _MeasuredError(Exception):
    """The last epoch has been timed: what comes after it need not be measured."""


@dataclass
class _Watch:
    """Times the epochs after the first one."""

    size: int = 1
    epoch_s: float | None = None
    _first: float = field(default_factory=time.perf_counter)

    def __call__(self, epoch: int, metrics: Mapping[int, Metrics]) -> Collection[int]:
        now = time.perf_counter()
        if epoch == 1:
            self._first = now
        if epoch == _EPOCHS:
            self.size, self.epoch_s = len(metrics), (now - self._first) / (_EPOCHS - 1)
            raise _MeasuredError
        return ()
