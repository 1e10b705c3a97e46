"""Data sets, split into training, validation and test parts by a seed.

Samples are uint8 images, or texts as tokens.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Int32, Int64, UInt8
from torch import Tensor

from kdsearch.distill.data.fingerprints import data_fingerprint
from kdsearch.distill.data.images import Form, ImageDecoder, ImageFiles, StreamedImages, decoder_of
from kdsearch.distill.data.labels import merge_labels
from kdsearch.distill.data.remembered import remembered
from kdsearch.distill.data.sources.loading import load_source
from kdsearch.distill.data.sources.samples import Source
from kdsearch.distill.data.splits import split_indices
from kdsearch.distill.data.tokens import TokenArray
from kdsearch.distill.models.inputs import Inputs
from kdsearch.errors import RequestError
from kdsearch.spec.sections import Dataset

MEMORY_LIMIT_BYTES = 4 * 2**30
"""By hand: images of more uint8 bytes are streamed, so that a machine of 16 GB still trains on them."""

LOWEST_DEVIATION = 0.01  # of pixels in [0, 1]: two and a half of 255 steps
_N_MEASURED = 10_000  # images, by hand: mean and deviation hardly change with more, and decoding takes time
_MEASURED_AT_ONCE = 500  # images, by hand: at 224 pixels in colours they take 75 MB


@dataclass(frozen=True)
class Split:
    """Images, or texts as tokens, and their labels. Large sets of images are streamed."""

    images: UInt8[Tensor, "N C H W"] | Int32[Tensor, "N R L"] | StreamedImages
    labels: Int64[Tensor, " N"]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def is_text(self) -> bool:
        """Whether the samples are texts as tokens."""
        return isinstance(self.images, Tensor) and self.images.dtype == torch.int32


@dataclass(frozen=True)
class ImageData:
    """A data set as training uses it.

    `mean` and `std` are the training split's, of pixels in [0, 1]. `fingerprint` is a digest of its samples,
    None where its name decides them; `notes` say how it was read. Of texts, `vocabulary` is the number of
    tokens, `in_channels` are the rows of tokens and `image_size` is their length; there is neither mean nor
    deviation.
    """

    train: Split
    validation: Split
    test: Split
    num_classes: int
    in_channels: int
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...]
    fingerprint: str | None = None
    notes: tuple[str, ...] = ()
    vocabulary: int | None = None

    @property
    def inputs(self) -> Inputs:
        """What a network takes that learns from them."""
        return Inputs(self.in_channels, self.image_size, self.vocabulary)


def load_dataset(
    dataset: Dataset, *, in_channels: int | None = None, memory_limit_bytes: int = MEMORY_LIMIT_BYTES
) -> ImageData:
    """Return the data set that a spec names, split as it says.

    Images of mixed or oblong sizes are resized by their shorter side and cut to the middle square of
    `dataset.image_size` (224 where the spec gives none and the sizes differ).

    Args:
        dataset: The spec's section.
        in_channels: 1 or 3 to convert the images; None leaves them as they are.
        memory_limit_bytes: A set of more bytes than this is decoded when it is asked for.

    Raises:
        RequestError: The files are missing, the sizes don't fit the data, or labels can't be merged.
    """
    source, fingerprint = _known_source(dataset)
    source = _readable(source, fingerprint, dataset)
    labels, classes = merge_labels(source.labels, source.classes, dataset)
    if len(classes) < 2:
        raise RequestError(
            f"`dataset.name` {dataset.name!r} must have at least two classes, got {classes[0]!r} alone in "
            f"{dataset.root or 'it'}. Put the images of each class into a folder of its own."
        )
    parts = split_indices(source.labels, source.n_test, dataset)
    native = source.images.native_form()
    form = Form(in_channels or native.n_channels, dataset.image_size or native.size)
    n_bytes = sum(len(part) for part in parts) * form.n_channels * form.size**2
    streamed = n_bytes > memory_limit_bytes
    decoder = decoder_of(source.images, form) if streamed and isinstance(source.images, ImageFiles) else None
    train, validation, test = (_split(source, labels, part, form, decoder) for part in parts)
    is_text = isinstance(source.images, TokenArray)
    mean, std = ((), ()) if is_text else _checked_statistics(train.images, dataset)
    return ImageData(
        train=train,
        validation=validation,
        test=test,
        num_classes=len(classes),
        in_channels=form.n_channels,
        image_size=form.size,
        mean=mean,
        std=std,
        classes=classes,
        fingerprint=fingerprint,
        notes=source.all_notes(),
        vocabulary=source.images.vocabulary if isinstance(source.images, TokenArray) else None,
    )


def _known_source(dataset: Dataset) -> tuple[Source, str | None]:
    """Return the samples and their fingerprint. A factory is called once for both."""
    source = load_source(dataset)
    return source, source.fingerprint() if source.is_own else data_fingerprint(dataset)


def _readable(source: Source, fingerprint: str | None, dataset: Dataset) -> Source:
    """Return the samples; `dataset.skip_bad` leaves out those that can't be read."""
    if not (dataset.skip_bad and isinstance(source.images, ImageFiles)):
        return source
    key = ("bad samples", dataset.model_dump_json(), fingerprint)
    rest = source.without(remembered(key, source.images.failures))
    n_pool = len(rest.labels) - (rest.n_test or 0)
    n_classes = int(source.labels.max()) + 1
    if not torch.bincount(rest.labels[:n_pool], minlength=n_classes).all():
        raise RequestError(
            "`dataset.skip_bad` must leave each class images to train on, got a class of bad ones alone. "
            "Mend or remove them."
        )
    return rest


def measured_deviations(std: tuple[float, ...]) -> list[float]:
    """Return each channel's deviation, 0 for a constant channel.

    A constant channel's is kept as 1, which no values of 0 to 1 can have.
    """
    return [0.0 if value == 1.0 else value for value in std]


def _checked_statistics(
    images: UInt8[Tensor, "N C H W"] | StreamedImages, dataset: Dataset
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return each channel's mean and deviation; refuse images that hardly differ.

    They are blank, or so dark that their range was mistaken.
    """
    mean, std = _pixel_statistics(images)
    highest = max(measured_deviations(std))
    if highest < LOWEST_DEVIATION:
        told = " and ".join(f"{value:.3f}" for value in (max(mean), highest))
        raise RequestError(
            f"`dataset.name` {dataset.name!r} must give images that differ, got pixels from 0 to 1 of mean "
            f"and deviation {told}. Give uint8 from 0 to 255, or floats from 0 to 1."
        )
    return mean, std


def _split(
    source: Source,
    labels: Int64[Tensor, " N"],
    index: Int64[Tensor, " M"],
    form: Form,
    decoder: ImageDecoder | None,
) -> Split:
    if decoder is not None and isinstance(source.images, ImageFiles):
        return Split(StreamedImages(source.images, index, form, decoder), labels[index])
    return Split(source.images.load(index, form), labels[index])


def _pixel_statistics(
    images: UInt8[Tensor, "N C H W"] | StreamedImages,
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return each channel's mean and deviation in [0, 1].

    Of more than 10,000 images, about that many are measured, evenly spaced.
    """
    step = max(1, len(images) // _N_MEASURED)
    chunks = torch.split(torch.arange(0, len(images), step), _MEASURED_AT_ONCE)
    loaded = (
        images.batches(chunks) if isinstance(images, StreamedImages) else (images[chunk] for chunk in chunks)
    )
    histogram = sum((_histogram(pixels) for pixels in loaded), torch.zeros(()))
    values = torch.arange(256, dtype=torch.float64) / 255
    shares = histogram / histogram.sum(1, keepdim=True)
    mean = shares @ values
    variance = shares @ values**2 - mean**2
    # A channel that is constant is left at its value: dividing by 1 is as good as anything.
    std = torch.where(variance > 1e-12, variance.clamp(min=0).sqrt(), torch.ones_like(variance))
    return tuple(mean.tolist()), tuple(std.tolist())


def _histogram(pixels: UInt8[Tensor, "B C H W"]) -> Tensor:
    """Return how often each channel has each of the 256 values: exact, whatever the batches."""
    by_channel = pixels.transpose(0, 1).flatten(1).long()
    return torch.stack([torch.bincount(values, minlength=256) for values in by_channel]).double()
