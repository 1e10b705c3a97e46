"""A look at a study's data before anything is trained."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from kdsearch.distill.data.dataset import ImageData, Split, load_dataset, measured_deviations
from kdsearch.distill.data.fingerprints import data_fingerprint
from kdsearch.distill.data.images import Failure, StreamedImages
from kdsearch.distill.data.remembered import remembered
from kdsearch.distill.data.sources.image_folders import read_image_folder
from kdsearch.distill.data.sources.roots import data_root
from kdsearch.distill.preflight.contact_sheets import class_pictures
from kdsearch.distill.teachers.recipes import pretraining_data
from kdsearch.errors import RequestError
from kdsearch.spec import Setup, StudySpec
from kdsearch.spec.sections import Dataset, Pretraining

SPLITS = ("train", "validation", "test")
_N_DECODED = 2_000  # images of each split of a streamed set, by hand: all of them may take hours
_CHUNK = 32  # by hand: one piece of a worker that decodes
_FEW = 5  # samples of a class to train on, by hand: with fewer a network learns hardly anything of it
_UNEVEN = 20  # times as many samples of one class as of another, by hand: accuracy then hides the rare one
_FLAT_DEVIATION = 0.05  # of pixels in [0, 1]; photographs have 0.2 to 0.3
_NEAR_THE_END = 0.02  # of pixels in [0, 1], by hand: a mean nearer to 0 or 1 is black or white


@dataclass(frozen=True)
class DataReport:
    """What was read of a data set.

    Args:
        dataset: The section that names it.
        role: The path of the setting that it is read for.
        classes: Their names, in the order of their numbers.
        counts: How many samples each class has, by split.
        shape: Channels, height and width that every image is brought to; of texts their rows and length.
        mean: Each channel's mean over the training split, of pixels in [0, 1].
        std: Each channel's standard deviation.
        streamed: Whether images are decoded each time they are asked for.
        fingerprint: A digest of the samples; None where the name decides them.
        warnings: What a user should look at, in sentences.
        pictures: A few training images of each class, or of evenly spaced ones of many classes.
        pretraining: The data sets that networks are trained on before.
        vocabulary: How many tokens texts are made of; None for images.
    """

    dataset: Dataset
    role: str
    classes: tuple[str, ...]
    counts: Mapping[str, tuple[int, ...]]
    shape: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    streamed: bool
    fingerprint: str | None
    warnings: tuple[str, ...]
    pictures: Mapping[str, Sequence[Image]] = field(repr=False)
    pretraining: tuple["DataReport", ...] = ()
    vocabulary: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values."""
        return {
            "role": self.role,
            "dataset": self.dataset.model_dump(mode="json"),
            "samples": {split: sum(counts) for split, counts in self.counts.items()},
            "classes": [
                {"class": name, **{split: counts[index] for split, counts in self.counts.items()}}
                for index, name in enumerate(self.classes)
            ],
            **{"shape": list(self.shape), "mean": list(self.mean), "std": list(self.std)},
            **{"streamed": self.streamed, "fingerprint": self.fingerprint, "warnings": list(self.warnings)},
            **({} if self.vocabulary is None else {"vocabulary": self.vocabulary}),
        }


def inspect_data(spec: StudySpec, setup: Setup) -> DataReport:
    """Return what is read for a setup: its data set, and those that its networks are pretrained on.

    Args:
        spec: The study.
        setup: One of its setups.

    Raises:
        RequestError: The data can't be read, or are no data to train on; said in one line.
    """
    training = spec.resolve(setup, {})
    before: dict[str, tuple[str, Dataset]] = {}
    named = (("teacher.pretraining", training.teacher.pretraining), ("student.init", training.student.init))
    for path, start in named:
        if isinstance(start, Pretraining) and start.dataset is not None:
            first = pretraining_data(start, training.dataset)
            before.setdefault(first.model_dump_json(), (f"{path}.dataset", first))
    pretraining = tuple(inspect_data_set(data, role) for role, data in before.values())
    return replace(inspect_data_set(training.dataset), pretraining=pretraining)


def inspect_data_set(dataset: Dataset, role: str = "dataset") -> DataReport:
    """Return what is read of one data set.

    Args:
        dataset: The section that names it.
        role: The path of the setting that it is read for.

    Raises:
        RequestError: It can't be read, or is no data to train on.
    """
    content = data_fingerprint(dataset)
    key = ("inspection", dataset.model_dump_json(), content)
    return replace(remembered(key, lambda: _inspected(dataset, content)), role=role)


def _inspected(dataset: Dataset, content: str | None) -> DataReport:
    data = load_dataset(dataset)
    if content is not None and data.fingerprint != content:
        raise RequestError(
            f"`dataset.name` {dataset.name!r} must give the same samples each time, got others the second "
            "time. Draw nothing at random in it, or from a generator with a seed of its own."
        )
    splits = {name: getattr(data, name) for name in SPLITS}
    _check_files(splits.values(), dataset)
    counts = {name: _counts(split, len(data.classes)) for name, split in splits.items()}
    return DataReport(
        dataset=dataset,
        role="dataset",
        classes=data.classes,
        counts=counts,
        shape=data.inputs.shape,
        mean=data.mean,
        std=data.std,
        streamed=isinstance(data.train.images, StreamedImages),
        fingerprint=data.fingerprint,
        warnings=(*data.notes, *_of_counts(counts, data.classes), *_of_pixels(data), *_of_copies(splits)),
        pictures={} if data.vocabulary else class_pictures(data),
        vocabulary=data.vocabulary,
    )


def _check_files(splits: Iterable[Split], dataset: Dataset) -> None:
    """Refuse streamed images that can't be read: empty or missing files, and 2,000 decoded of each split."""
    for split in splits:
        images = split.images
        if not isinstance(images, StreamedImages):
            continue
        failures = {failure.name: failure for failure in _empty_files(dataset)}
        evenly = torch.arange(0, len(images), max(1, len(images) // _N_DECODED))
        for _, bad in images.decoded(torch.split(evenly, _CHUNK)):
            failures |= {failure.name: failure for failure in bad}
        if failures:
            raise images.refusal(list(failures.values()))


def _empty_files(dataset: Dataset) -> list[Failure]:
    if dataset.name != "imagefolder" or dataset.skip_bad:
        return []
    parts = read_image_folder(data_root(dataset)).parts.values()
    return [
        Failure(file.path, "no such file" if file.size_bytes < 0 else "an empty file")
        for part in parts
        for file, _ in part.samples()
        if file.size_bytes <= 0
    ]


def _counts(split: Split, n_classes: int) -> tuple[int, ...]:
    return tuple(torch.bincount(split.labels, minlength=n_classes).tolist())


def _of_counts(counts: Mapping[str, Sequence[int]], classes: Sequence[str]) -> Iterator[str]:
    train = counts["train"]
    for split in SPLITS:
        if absent := [name for name, n in zip(classes, counts[split], strict=True) if n == 0]:
            yield f"{_listed(absent)} without a sample in the {split} split."
    if few := [name for name, n in zip(classes, train, strict=True) if 0 < n < _FEW]:
        yield f"{_listed(few)} with fewer than {_FEW} samples to train on."
    most, fewest = max(train), min(train)
    if most > _UNEVEN * max(1, fewest):
        yield (
            f"The classes are uneven: {most:,} samples of {classes[train.index(most)]!r} to train on, "
            f"{fewest:,} of {classes[train.index(fewest)]!r}."
        )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    return f"{'Class' if len(names) == 1 else 'Classes'} {', '.join(map(repr, names[:_FEW]))}{more}"


def _of_pixels(data: ImageData) -> Iterator[str]:
    if data.vocabulary is not None:
        return
    deviations = measured_deviations(data.std)
    mean, std = max(data.mean), max(deviations)
    if std < _FLAT_DEVIATION or not _NEAR_THE_END < mean < 1 - _NEAR_THE_END:
        yield f"Images are almost blank: mean {mean:.3f}, deviation {std:.3f} of pixels from 0 to 1."
    if min(deviations) == 0.0:
        yield "A channel is constant."


def _of_copies(splits: Mapping[str, Split]) -> Iterator[str]:
    """Yield a note for each held-out split that repeats training samples.

    Images are compared pixel by pixel, texts token by token.
    """
    seen = set(_hashes(splits["train"]))
    for name in SPLITS[1:]:
        if n := sum(digest in seen for digest in _hashes(splits[name])):
            what, by = ("texts", "token") if splits[name].is_text else ("images", "pixel")
            yield f"{n:,} {what} of the {name} split are also in the training split, {by} by {by}."


def _hashes(split: Split) -> list[bytes]:
    if not isinstance(split.images, Tensor):
        return []
    return [hashlib.blake2b(image.numpy(), digest_size=16).digest() for image in split.images]
