"""The store of a teacher's logits, computed once for each view."""

import hashlib
import json
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from kdsearch.artifacts.digests import DIGEST_BYTES, sealed, tell_damage, unsealed
from kdsearch.artifacts.files import write_whole
from kdsearch.distill.data.dataset import ImageData
from kdsearch.distill.data.streaming.feeding import sent
from kdsearch.spec import TrainingSpec

StoredType: TypeAlias = Literal["float16", "float32"]

DEFAULT_CAP_BYTES = 10 * 2**30
"""By hand: a thousand views of CIFAR-100, more than usual trainings ask for."""

_MAXIMA = np.dtype(np.float32)
_VERSION = 1  # raise it when the same spec begins to give other views
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TargetsKey:
    """Whose logits on which views: one file for each epoch, of logits [N, C].

    Args:
        teacher: The name of the teacher's folder: its recipe's digest, or that of a copy's content.
        views: The fingerprint of the data and their augmentation.
        view_seed: The seed of the views.
        shape: N examples and C classes.
    """

    teacher: str
    views: str
    view_seed: int
    shape: tuple[int, int]


class StoredLogits(NamedTuple):
    """An epoch's logits as they are kept: less each example's maximum, and the maxima."""

    centred: Float[Tensor, "N C"]
    maxima: Float[Tensor, " N"]

    def at(self, index: Int64[Tensor, " M"]) -> Float[Tensor, "M C"]:
        """Return the true logits of some examples, on the index's device."""
        centred, maxima = (own.to(index.device)[index].float() for own in self)
        return centred.add_(maxima[:, None])


class EpochLogits(Protocol):
    """An epoch's logits in its order, taken part after part."""

    @property
    def nbytes(self) -> int:
        """How many bytes they take, wherever they are."""

    def part(self, start: int, stop: int) -> Float[Tensor, "M C"]:
        """Return the logits from `start` to before `stop`, on the device.

        Values of one class are side by side.
        """


class HeldLogits:
    """An epoch's logits on the device, laid out for the losses.

    Args:
        stored: The logits, in the order of the data.
        order: The epoch's order, on the device.
    """

    def __init__(self, stored: StoredLogits, order: Int64[Tensor, " N"]) -> None:
        self._by_class = stored.at(order).T.contiguous()
        self.nbytes = self._by_class.nbytes

    def part(self, start: int, stop: int) -> Float[Tensor, "M C"]:
        """Return the logits from `start` to before `stop`."""
        return self._by_class[:, start:stop].T


class StreamedLogits:
    """An epoch's logits on the host, brought to a device in parts.

    Args:
        stored: The logits, in the order of the data.
        order: The epoch's order.
        device: Where parts go.
    """

    def __init__(self, stored: StoredLogits, order: Int64[Tensor, " N"], device: torch.device) -> None:
        self._stored = stored
        self.nbytes = sum(values.nbytes for values in stored)
        self._order = order.cpu()
        self._device = device

    def part(self, start: int, stop: int) -> Float[Tensor, "M C"]:
        """Return the logits from `start` to before `stop`."""
        values = self._stored.at(self._order[start:stop]).T.contiguous()
        return sent(values, self._device).T


def view_fingerprint(spec: TrainingSpec, data: ImageData) -> str:
    """Return a digest of what decides training views.

    Their seed and their epoch are left out. The data's fingerprint, mean, deviation and labels stand for
    their content: a path does not.
    """
    values = {
        "version": _VERSION,
        "dataset": spec.dataset.model_dump(mode="json", exclude={"root", *spec.dataset.unsaid}),
        "content": data.fingerprint,
        "augment": spec.augment.model_dump(mode="json"),
        "mean": data.mean,
        "std": data.std,
        "labels": hashlib.sha256(data.train.labels.cpu().numpy().tobytes()).hexdigest(),
    }
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def soft_target_bytes(shape: tuple[int, int], epochs: int, dtype: StoredType = "float16") -> int:
    """Return how many bytes a whole training's logits take. Each epoch has a digest."""
    epoch_bytes = shape[0] * shape[1] * np.dtype(dtype).itemsize + shape[0] * _MAXIMA.itemsize
    return epochs * (epoch_bytes + DIGEST_BYTES)


class SoftTargetStore:
    """A folder of memory-mapped logits, with a bound on its size.

    Logits are kept centred at each example's maximum, with the maxima beside them: in float16 the
    gradient of a softmax's loss is then off by less than 1e-3 at any temperature. Files appear whole or
    not at all, so any number of processes may read and write at once.

    Args:
        folder: Where the files are.
        cap_bytes: Above it the files unused for longest are removed.
        dtype: The stored type; float32 loses nothing.
    """

    def __init__(
        self, folder: Path, *, cap_bytes: int = DEFAULT_CAP_BYTES, dtype: StoredType = "float16"
    ) -> None:
        self._folder = folder
        self._cap_bytes = cap_bytes
        self._dtype = np.dtype(dtype)
        self._name: StoredType = dtype

    def has_room_for(self, key: TargetsKey, epochs: int) -> bool:
        """Return whether a whole training's logits fit below the cap.

        Their size is logged. Where they don't fit, each pack would remove what the next one needs: use the
        live teacher.
        """
        size_bytes = soft_target_bytes(key.shape, epochs, self._name)
        fits = size_bytes <= self._cap_bytes
        verdict = "stored" if fits else f"more than the cap of {self._cap_bytes / 1e6:.0f} MB: not stored"
        _log.info(
            "Soft targets of teacher %s: %d epochs, %.1f MB in %s, %s.",
            *(key.teacher[:12], epochs, size_bytes / 1e6, self._folder, verdict),
        )
        return fits

    def get(self, key: TargetsKey, epoch: int, make: Callable[[], Float[Tensor, "N C"]]) -> StoredLogits:
        """Return an epoch's logits as they are stored, memory-mapped. Made and stored where they are not.

        Where they can't be stored, on a full disk for one, each who needs them makes them.

        Args:
            key: Whose logits on which views.
            epoch: The epoch of the views.
            make: Gives the logits of all examples, in the order of the data.
        """
        path = self._path(key, epoch)
        if (found := self._read(path, key.shape)) is not None:
            return found
        centred, maxima = self._stored_form(make())
        content = centred.tobytes() + maxima.tobytes()
        try:
            self._make_room(len(content) + DIGEST_BYTES)
            write_whole(path, sealed(content))
        except OSError as error:
            _log.warning("Soft targets can't be stored in %s: %s. Training goes on.", path.parent, error)
        return StoredLogits(torch.from_numpy(centred), torch.from_numpy(maxima))

    def size_bytes(self) -> int:
        """Return how many bytes the stored logits take now."""
        return sum(size for _, size, _ in self._files())

    def _path(self, key: TargetsKey, epoch: int) -> Path:
        folder = self._folder / key.teacher[:32] / key.views[:32]
        return folder / f"seed{key.view_seed}-epoch{epoch:05d}.{self._dtype.name}"

    def _read(self, path: Path, shape: tuple[int, int]) -> StoredLogits | None:
        """Return a file's logits, or None where there is no whole file. Note that it was used."""
        try:
            if path.stat().st_size != soft_target_bytes(shape, 1, self._name):
                return None  # cut short, or from before there were digests
            mapped = np.memmap(path, np.uint8, mode="c")
            os.utime(path)
        except FileNotFoundError:
            return None
        if unsealed(mapped.data) is None:
            tell_damage(path, "it is not what was written")
            return None
        split = shape[0] * shape[1] * self._dtype.itemsize
        centred = mapped[:split].view(self._dtype).reshape(shape)
        maxima = mapped[split:-DIGEST_BYTES].view(_MAXIMA)
        return StoredLogits(torch.from_numpy(centred), torch.from_numpy(maxima))

    def _stored_form(self, logits: Float[Tensor, "N C"]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        maxima = logits.float().amax(1)
        centred = logits.float() - maxima[:, None]
        lowest = float(np.finfo(self._dtype).min)
        stored = centred.clamp(min=lowest).cpu().numpy().astype(self._dtype)
        return stored, maxima.cpu().numpy().astype(_MAXIMA)

    def _make_room(self, size_bytes: int) -> None:
        files = sorted(self._files())
        excess = sum(size for _, size, _ in files) + size_bytes - self._cap_bytes
        for _, size, path in files:
            if excess <= 0:
                return
            path.unlink(missing_ok=True)
            excess -= size

    def _files(self) -> list[tuple[int, int, Path]]:
        """Return every file's time of last use, size and path."""
        found = []
        for path in self._folder.glob("*/*/seed*"):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            found.append((status.st_mtime_ns, status.st_size, path))
        return found
