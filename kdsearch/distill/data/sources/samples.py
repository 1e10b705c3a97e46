"""All samples of a data set, and what is known about labels."""

import hashlib
import os
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from kdsearch.distill.data.images import Failure, ImageArray, ImageFiles
from kdsearch.distill.data.sources.plain_arrays import plain_array
from kdsearch.distill.data.tokens import TokenArray
from kdsearch.errors import RequestError

_LABEL_ATTRIBUTES = ("targets", "labels", "_labels", "y")
_SAMPLE_ATTRIBUTES = ("samples", "_samples")
_CLASS_ATTRIBUTES = ("classes", "categories")
_N_HASHED = 64  # images of a set that is decoded as it is read, by hand: all would take an epoch's time


@dataclass(frozen=True)
class Source:
    """All samples of a data set: its training part, then its own test part, where it has one.

    `notes` are what a user should know of how they were read. A user's own factory gave what `is_own`;
    `code` is the fingerprint of what makes images that are decoded as they are read.
    """

    images: ImageArray | ImageFiles | TokenArray
    labels: Int64[Tensor, " N"]
    n_test: int | None
    classes: tuple[str, ...] | None
    notes: tuple[str, ...] = ()
    code: str | None = None
    is_own: bool = False

    def fingerprint(self) -> str:
        """Return a digest of all samples. Of files it covers names, sizes, times and some of their pixels."""
        digest = hashlib.sha256(repr((self.n_test, self.classes, self.code, len(self.labels))).encode())
        digest.update(self.labels.numpy().tobytes())
        if not isinstance(self.images, ImageFiles):
            self.images.add_to(digest)
            return digest.hexdigest()
        for index, image in self.images.native_sample(_N_HASHED):
            digest.update(repr((index, tuple(image.shape))).encode() + image.numpy().tobytes())
        for index in range(len(self.images)):
            digest.update(_file_identity(self.images.name_of(index)).encode(errors="surrogateescape"))
        return digest.hexdigest()

    def all_notes(self) -> tuple[str, ...]:
        """Return the notes, with how deep images are scaled."""
        note = self.images.scale.note() if isinstance(self.images, ImageFiles) else None
        return self.notes if note is None else (*self.notes, note)

    def without(self, failures: dict[int, Failure]) -> "Source":
        """Return the samples but those that can't be read."""
        if not failures or not isinstance(self.images, ImageFiles):
            return self
        bad = sorted(failures)
        n_pool = len(self.labels) - (self.n_test or 0)
        kept = torch.ones(len(self.labels), dtype=torch.bool)
        kept[bad] = False
        named = ", ".join(failures[index].name for index in bad[:5]) + (" …" if len(bad) > 5 else "")
        return replace(
            self,
            images=self.images.without(bad),
            labels=self.labels[kept],
            n_test=None if self.n_test is None else int(kept[n_pool:].sum()),
            notes=(*self.notes, f"{len(bad)} images can't be read and are left out: {named}."),
        )


def _file_identity(name: str) -> str:
    try:
        status = os.stat(name)
    except OSError:  # it is no file but a number
        return f"{name}\0"
    return f"{os.path.basename(name)}\0{status.st_size}\0{status.st_mtime_ns // 10**9}\0"


def kept_labels(part: Any) -> Any | None:
    """Return the labels kept beside a map-style data set's items, if any."""
    for name in _LABEL_ATTRIBUTES:
        labels = getattr(part, name, ())
        if np.ma.is_masked(labels):
            continue
        labels = np.asarray(labels)
        if labels.shape == (len(part),):
            return labels
    for name in _SAMPLE_ATTRIBUTES:
        samples = getattr(part, name, ())
        if len(samples) == len(part):
            return [label for _, label in samples]
    return None


def classes_of(part: Any) -> tuple[str, ...] | None:
    """Return the names of the classes, where a data set has them."""
    if getattr(part, "target_transform", None) is not None:
        return None  # its names are those of the labels before it
    for name in _CLASS_ATTRIBUTES:
        if (classes := getattr(part, name, None)) is not None:
            return tuple(str(c[0]) if isinstance(c, tuple | list) else str(c) for c in classes)
    return None


def as_labels(labels: Any, owner: str) -> Int64[Tensor, " N"]:
    """Return labels as integers from 0.

    Raises:
        RequestError: They are none.
    """
    try:
        array = plain_array(labels)
    except RequestError as error:
        raise RequestError(f"The labels of {owner} can't be read. {error}") from error
    except ValueError:  # rows of several lengths
        array = np.asarray([object()])
    if array.dtype == np.uint64 and array.max(initial=0) > np.iinfo(np.int64).max:
        array = array.astype(np.float64)
    if array.ndim != 1 or array.dtype.kind not in "iu" or array.min(initial=0) < 0:
        lowest = f" from {array.min()}" if array.dtype.kind in "iu" and array.size else ""
        raise RequestError(
            f"The labels of {owner} must be one integer from 0 for each image, got {array.dtype}{lowest} of "
            f"{array.ndim} dimensions. {_advice(array)}"
        )
    return torch.from_numpy(array.astype(np.int64))


def _advice(array: Any) -> str:
    if array.ndim > 1:
        return "Give one number for each image; of one-hot rows, argmax(1)."
    if array.dtype.kind in "iu":
        return "Choose files with labels in every part."
    return "Number the classes, as np.unique(labels, return_inverse=True)[1] does."
