"""Samples of a user's own factory: the forms that people have, brought into one, or refused."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from kdsearch.distill.data.fingerprints import code_fingerprint
from kdsearch.distill.data.images import ImageArray, ImageFiles
from kdsearch.distill.data.pixels import Scale, channels_first, native_pixels, native_values, scale_of, scaled
from kdsearch.distill.data.sources.samples import Source, as_labels, classes_of, kept_labels
from kdsearch.distill.factories import load_factory, place_of
from kdsearch.errors import KDSearchError, RequestError
from kdsearch.spec.sections import Dataset

_N_COMPARED = 512  # items that must agree with what a data set keeps beside them: labels may have noise
_N_NAMED = 5  # by hand: an error stays a line
_TRANSFORMS = ("transform", "target_transform", "transforms")
_FORMS = "(train, test), each a pair (images, labels) of arrays or a data set of (image, label)"


@dataclass(frozen=True)
class _Part:
    """One part as items, and as an array where it holds one."""

    items: Any
    images: Tensor | None
    labels: Int64[Tensor, " N"]
    classes: tuple[str, ...] | None


class _Zipped:
    """A pair of images and labels as items."""

    def __init__(self, images: Any, labels: Any) -> None:
        self._images = images
        self._labels = labels

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self._images[index], self._labels[index]


def own_source(dataset: Dataset) -> Source:
    """Return the samples of `package.module:factory`.

    The factory is called with the spec's dataset section where it asks for it (by a parameter called
    `dataset`, or one without a default), and with nothing else. It returns `(train, test)`; `test` may
    be None. Each is a pair `(images, labels)`, the images an array of shape [N, H, W], [N, H, W, C] or
    [N, C, H, W] or a list, or a map-style data set of (image, label). Images are PIL images, or arrays
    or tensors of uint8, of floats from 0 to 1, or of deeper integers.

    Raises:
        RequestError: The factory fails, or gives something else.
    """
    setting = f"`dataset.name` {dataset.name!r}"
    train, test = called(dataset, setting, _FORMS)
    if _is_array(train) and (_is_array(test) or isinstance(test, list)):
        raise RequestError(
            f"{setting} must return {_FORMS}, got one pair of arrays. Return ((images, labels), None)."
        )
    named = [("train", train)] if test is None else [("train", train), ("test", test)]
    parts = [_part(part, f"{setting}, in its {name} part,") for name, part in named]
    n_test = None if test is None else len(parts[1].labels)
    labels = torch.cat([part.labels for part in parts])
    classes = _classes(parts, setting)
    check_labels(labels, n_test, classes, setting)
    images, notes = _images(parts, setting)
    code = code_fingerprint(dataset.name) if isinstance(images, ImageFiles) else None
    return Source(images, labels, n_test, classes, notes, code, is_own=True)


def called(dataset: Dataset, setting: str, forms: str) -> tuple[Any, Any]:
    """Return what a user's factory gives: a training part, and a test part or None.

    Args:
        dataset: The section that names it, and that it gets where it asks for it.
        setting: The setting and its value, for errors.
        forms: What it should return, in words.

    Raises:
        RequestError: It fails, or returns something else than two parts.
    """
    factory = load_factory(dataset.name, "dataset.name")
    arguments = _arguments(factory, dataset, setting)
    try:
        result = factory(*arguments.args, **arguments.kwargs)
    except KDSearchError:
        raise
    except (Exception, SystemExit) as error:
        raise RequestError(f"{setting} must give samples, but failed: {_error_with_place(error)}.") from error
    if not (isinstance(result, tuple | list) and len(result) == 2):
        raise RequestError(
            f"{setting} must return {forms}, got {_shape_of(result)}. Return None for a missing test part."
        )
    train, test = result
    return train, test


def _arguments(factory: Any, dataset: Dataset, setting: str) -> inspect.BoundArguments:
    """Return a factory's arguments, the dataset section if it takes it."""
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):  # a builtin that says nothing of itself
        return inspect.Signature().bind()
    needed = [
        parameter
        for parameter in signature.parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if len(needed) > 1:
        names = ", ".join(parameter.name for parameter in needed)
        raise RequestError(
            f"{setting} must need nothing but the dataset section, got a factory that needs {names}. "
            "Give the others defaults."
        )
    asks = needed[0] if needed else signature.parameters.get("dataset")
    if asks is None:
        return signature.bind()
    by_name = asks.kind in (asks.KEYWORD_ONLY, asks.POSITIONAL_OR_KEYWORD)
    return signature.bind(**{asks.name: dataset}) if by_name else signature.bind(dataset)


def _error_with_place(error: BaseException) -> str:
    """Return an error in one line, with the user's line behind it."""
    text = " ".join(str(error).split()) or "no reason given"
    where = place_of(error.__traceback__)
    return f"{type(error).__name__}: {text.rstrip('.')}{f' ({where})' if where else ''}"


def _is_array(value: Any) -> TypeGuard[Any]:
    return isinstance(value, np.ndarray | Tensor)


def _shape_of(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"{type(value).__name__} of {len(value)}"
    return type(value).__name__


def _part(part: Any, setting: str) -> _Part:
    is_pair = isinstance(part, tuple | list) and len(part) == 2 and not isinstance(part[0], tuple)
    if is_pair and all(hasattr(side, "__len__") for side in part):
        return _pair(part[0], part[1], setting)
    try:
        n_samples = len(part)
    except TypeError:
        n_samples = -1
    if n_samples < 0 or not hasattr(part, "__getitem__") or isinstance(part, dict | str):
        raise RequestError(
            f"{setting} must return {_FORMS}, got {_shape_of(part)}. Give it a length and items."
        )
    if n_samples == 0:
        raise RequestError(f"{setting} must hold samples, got none. Return None for a missing test part.")
    return _map_style(part, setting)


def _pair(images: Any, labels: Any, setting: str) -> _Part:
    if len(images) != len(labels):
        raise RequestError(
            f"{setting} must give one label for each image, got {len(images)} images and {len(labels)} "
            "labels. Give as many of both."
        )
    if not len(images):
        raise RequestError(f"{setting} must hold samples, got none. Return None for a missing test part.")
    checked = as_labels(labels.detach().cpu() if isinstance(labels, Tensor) else labels, setting)
    is_whole = _is_array(images) and images.dtype != np.dtype(object)
    return _Part(_Zipped(images, checked), _whole(images, setting) if is_whole else None, checked, None)


def _whole(images: Any, setting: str) -> Tensor:
    """Return an array of images with channels first, in its own values."""
    if images.ndim not in (3, 4):
        raise RequestError(
            f"{setting} must give images of shape [N, H, W], [N, H, W, C] or [N, C, H, W], got "
            f"{tuple(images.shape)}. Reshape them."
        )
    try:
        return channels_first(native_values(images))
    except RequestError as error:
        raise RequestError(f"{setting} gives no images that can be read. {error}") from error


def _map_style(part: Any, setting: str) -> _Part:
    index = range(0, len(part), max(1, len(part) // _N_COMPARED))
    sample = {i: item for i in index if (item := _item(part, i, setting)) is not None}
    plain = _is_plain(part)
    labels = _labels(part, sample, plain, setting)
    data = getattr(part, "data", None)
    images = None
    if plain and _is_array(data) and data.ndim in (3, 4) and len(data) == len(part):
        images = _whole(data, setting)
        if not all(_same(item[0], images[i]) for i, item in sample.items()):
            images = None
    return _Part(part, images, as_labels(labels, setting), classes_of(part))


def _item(part: Any, index: int, setting: str) -> Any | None:
    """Return an item, or None where it can't be read. Reading the images reports it later."""
    try:
        item = part[index]
    except Exception:
        return None
    if not (isinstance(item, tuple | list) and len(item) == 2):
        keys = f" of {', '.join(map(str, item))}" if isinstance(item, dict) else ""
        raise RequestError(
            f"{setting} must hold items (image, label), got {_shape_of(item)}{keys}. Wrap it to give pairs."
        )
    return item


def _same(image: Any, kept: Tensor) -> bool:
    try:
        native = native_pixels(image)
    except RequestError:
        return False
    return native.dtype == kept.dtype and torch.equal(native, kept)


def _labels(part: Any, sample: dict[int, Any], plain: bool, setting: str) -> Any:
    """Return a data set's labels: those that it keeps, where its items have the same."""
    if type(part).__name__ == "Subset" and hasattr(part, "indices"):
        inner = _labels(part.dataset, {}, _is_plain(part.dataset), setting)
        kept: Any = None if inner is None else np.asarray(inner)[np.asarray(part.indices)]
    else:
        kept = kept_labels(part) if plain else None
    if kept is not None and _agree(kept, sample):
        return kept
    return [_label(part, index, setting) for index in range(len(part))] if sample else kept


def _is_plain(part: Any) -> bool:
    return all(getattr(part, name, None) is None for name in _TRANSFORMS)


def _agree(kept: Any, sample: dict[int, Any]) -> bool:
    return all(np.array_equal(np.asarray(kept[i]), np.asarray(item[1])) for i, item in sample.items())


def _label(part: Any, index: int, setting: str) -> Any:
    item = _item(part, index, setting)
    return 0 if item is None else item[1]


def _classes(parts: Sequence[_Part], setting: str) -> tuple[str, ...] | None:
    known = {part.classes for part in parts if part.classes is not None}
    if len(known) > 1:
        first, second = (", ".join(part.classes or ()) for part in parts)
        raise RequestError(
            f"{setting} must have the same classes in both parts, got {first:.80} and {second:.80}."
        )
    return next(iter(known), None)


def check_labels(
    labels: Int64[Tensor, " N"], n_test: int | None, classes: tuple[str, ...] | None, setting: str
) -> None:
    """Refuse labels that leave classes without a sample to train on."""
    n_pool = len(labels) - (n_test or 0)
    n_classes = max(len(classes or ()), int(labels.max()) + 1)
    if classes is not None and n_classes > len(classes):
        raise RequestError(
            f"{setting} must name each class, got {len(classes)} names and labels up to {n_classes - 1}."
        )
    if empty := _unseen(labels[:n_pool], n_classes):
        named = ", ".join(classes[i] if classes else str(i) for i in empty[:_N_NAMED])
        raise RequestError(
            f"{setting} must number its classes from 0 without gaps, each with samples in the training part, "
            f"got labels from {int(labels.min())} to {int(labels.max())} and none in training of "
            f"{named}{' …' if len(empty) > _N_NAMED else ''}. "
            "np.unique(labels, return_inverse=True)[1] numbers them so."
        )


def _unseen(labels: Int64[Tensor, " N"], n_classes: int) -> list[int]:
    """Return the first classes without a sample, however high others are numbered."""
    seen = set(labels.tolist())
    return [label for label in range(min(n_classes, len(seen) + _N_NAMED + 1)) if label not in seen]


def _images(parts: Sequence[_Part], setting: str) -> tuple[ImageArray | ImageFiles, tuple[str, ...]]:
    wholes = [part.images for part in parts if part.images is not None]
    if len(wholes) < len(parts):
        return ImageFiles([part.items for part in parts], setting), ()
    shapes = [tuple(images.shape[1:]) for images in wholes]
    if len(set(shapes)) > 1:
        raise RequestError(
            f"{setting} must give images of one shape in both parts, got {shapes[0]} and {shapes[1]}. "
            "Resize them, or give lists of images."
        )
    scale = _scale(wholes, setting)
    images = torch.cat([scaled(images, scale) for images in wholes])
    note = scale.note()
    return ImageArray(images), () if note is None else (note,)


def _scale(wholes: Sequence[Tensor], setting: str) -> Scale:
    floats = {scale_of([images]).floats for images in wholes if images.dtype == torch.float32}
    if len(floats) > 1:
        raise RequestError(
            f"{setting} must give both parts in one range, got floats up to {min(floats)} and {max(floats)}."
        )
    try:
        return scale_of(wholes)
    except RequestError as error:
        raise RequestError(f"{setting} gives no images that can be read. {error}") from error
