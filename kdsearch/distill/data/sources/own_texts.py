"""Texts of a user's own factory: what tokenizers give, brought into one form, or refused."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from kdsearch.distill.data.sources.own_sources import called, check_labels
from kdsearch.distill.data.sources.plain_arrays import plain_array
from kdsearch.distill.data.sources.samples import Source, as_labels, classes_of
from kdsearch.distill.data.tokens import TokenArray
from kdsearch.distill.models.inputs import ROWS
from kdsearch.errors import RequestError
from kdsearch.spec.sections import Dataset

_FORMS = (
    "(train, test), each a pair (encoding, labels), the encoding a mapping with input_ids and attention_mask "
    "as a tokenizer gives it, or a data set of such mappings with labels"
)
_LABELS = ("labels", "label")
_IDS, _MASK, _SEGMENTS = ROWS
_PAD = "Tokenise all parts with padding='max_length', truncation=True and one max_length."


@dataclass(frozen=True)
class _Part:
    """One part: each row's array [N, L] by its name, the labels, and the classes' names."""

    rows: dict[str, Any]
    labels: Int64[Tensor, " N"]
    classes: tuple[str, ...] | None


def own_texts(dataset: Dataset) -> Source:
    """Return the texts of `package.module:factory`, as tokens.

    The factory is called as one of images is. It returns `(train, test)`; `test` may be None. Each is a pair
    `(encoding, labels)` or a data set of mappings with labels. An encoding has `input_ids` and
    `attention_mask` of shape [N, L], and `token_type_ids` where texts have several segments.

    Raises:
        RequestError: The factory fails, or gives something else.
    """
    setting = f"`dataset.name` {dataset.name!r}"
    given = zip(("train", "test"), called(dataset, setting, _FORMS), strict=True)
    parts = [_part(part, f"{setting}, in its {name} part,") for name, part in given if part is not None]
    if not parts:
        raise RequestError(f"{setting} must return {_FORMS}, got None for both.")
    n_test = len(parts[1].labels) if len(parts) > 1 else None
    labels = torch.cat([part.labels for part in parts])
    classes = next((part.classes for part in parts if part.classes is not None), None)
    check_labels(labels, n_test, classes, setting)
    tokens = _joined(parts, setting)
    vocabulary = int(tokens[:, 0].max()) + 1
    return Source(TokenArray(tokens, vocabulary), labels, n_test, classes, is_own=True)


def _part(part: Any, setting: str) -> _Part:
    if isinstance(part, tuple | list) and len(part) == 2 and isinstance(part[0], Mapping):
        encoding, labels = part
    elif isinstance(part, Mapping):
        encoding, labels = part, _labels_in(part, setting)
    else:
        encoding = _columns(part, setting)
        labels = _labels_in(encoding, setting)
    rows = {name: _row(encoding[name], name, setting) for name in ROWS if name in encoding}
    for name in (_IDS, _MASK):
        if name not in rows:
            raise RequestError(
                f"{setting} must give `{name}`, got {', '.join(map(str, encoding))}. Take all that the "
                "tokenizer gives."
            )
    checked = as_labels(labels.detach().cpu() if isinstance(labels, Tensor) else labels, setting)
    _check_rows(rows, len(checked), setting)
    return _Part(rows, checked, classes_of(part))


def _columns(part: Any, setting: str) -> dict[str, list[Any]]:
    """Return the items of a data set as columns."""
    try:
        items = [part[index] for index in range(len(part))]
    except TypeError:
        items = []
    if not items or not all(isinstance(item, Mapping) for item in items):
        got = type(items[0]).__name__ if items else type(part).__name__
        raise RequestError(f"{setting} must return {_FORMS}, got {got}. Return None for a missing test part.")
    names = [name for name in (*ROWS, *_LABELS) if name in items[0]]
    try:
        return {name: [_plain(item[name]) for item in items] for name in names}
    except KeyError as error:
        raise RequestError(f"{setting} must give `{error.args[0]}` of each text, got one without.") from error


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | Tensor) else value


def _labels_in(encoding: Mapping[str, Any], setting: str) -> Any:
    for name in _LABELS:
        if name in encoding:
            return encoding[name]
    raise RequestError(f"{setting} must give `labels`, got {', '.join(map(str, encoding))}. Add them.")


def _row(values: Any, name: str, setting: str) -> Any:
    """Return one kind of row as an array [N, L]."""
    try:
        array = plain_array(values)
    except RequestError as error:
        raise RequestError(f"{setting} gives no `{name}` that can be read. {error}") from error
    except ValueError as error:  # rows of several lengths
        raise RequestError(
            f"{setting} must give `{name}` of one length, got several lengths. {_PAD}"
        ) from error
    if array.ndim != 2 or array.dtype.kind not in "iub" or 0 in array.shape:
        raise RequestError(
            f"{setting} must give `{name}` as whole numbers of shape [N, L], got {array.dtype} of shape "
            f"{array.shape}. {_PAD}"
        )
    return array.astype(np.int64)


def _check_rows(rows: Mapping[str, Any], n_labels: int, setting: str) -> None:
    shapes = {array.shape for array in rows.values()}
    if len(shapes) > 1 or next(iter(shapes))[0] != n_labels:
        found = ", ".join(f"{name} {array.shape}" for name, array in rows.items())
        raise RequestError(
            f"{setting} must give rows of one shape and as many labels, got {found} and {n_labels} labels. "
            "Give as many of each."
        )
    for name, array in rows.items():
        if array.min() < 0 or array.max() > np.iinfo(np.int32).max:
            raise RequestError(
                f"{setting} must give `{name}` of at least 0, got {array.min()} to {array.max()}."
            )
    mask = rows[_MASK]
    if mask.max() > 1 or not mask.any(1).all():
        raise RequestError(
            f"{setting} must give an `attention_mask` of 1 for tokens and 0 for padding, with a token in "
            f"each text, got values up to {mask.max()} and {int((~mask.any(1)).sum())} texts without one."
        )


def _joined(parts: list[_Part], setting: str) -> Tensor:
    """Return all texts in one tensor. Segments are in it only where some text has a second one."""
    lengths = [part.rows[_IDS].shape[1] for part in parts]
    if len(set(lengths)) > 1:
        raise RequestError(
            f"{setting} must give texts of one length in both parts, got {lengths[0]} and {lengths[1]} "
            f"tokens. {_PAD}"
        )
    has_segments = [bool(part.rows.get(_SEGMENTS, np.zeros(1)).any()) for part in parts]
    names = ROWS if any(has_segments) else ROWS[:2]
    if lacking := [name for name in names for part in parts if name not in part.rows]:
        raise RequestError(f"{setting} must give `{lacking[0]}` in both parts, got it in one.")
    stacked = [np.stack([part.rows[name] for name in names], 1).astype(np.int32) for part in parts]
    return torch.from_numpy(np.concatenate(stacked))
