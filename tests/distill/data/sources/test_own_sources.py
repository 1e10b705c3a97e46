"""What a user's factory may give: forms that are made right, and others that are refused in one line.

Each image's brightness is its class, so that images and labels are checked against each other.
"""

import sys
import types

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch.utils.data import Subset, TensorDataset

from kdsearch.distill.data.dataset import load_dataset
from kdsearch.distill.data.images import StreamedImages
from kdsearch.errors import RequestError
from kdsearch.spec.sections import Dataset

N, N_TRAIN, STEP = 80, 60, 60  # images are few, and shades of classes do not overlap
LABELS = np.arange(N) % 4
CHW = (np.random.default_rng(0).integers(0, STEP, (N, 3, 6, 6)) + LABELS[:, None, None, None] * STEP).astype(
    np.uint8
)
HWC = CHW.transpose(0, 2, 3, 1)
GREY = CHW[:, 0]


class Items:
    """A map-style data set: some function of each image."""

    def __init__(self, start, stop, form, label=int, **kept):
        self.start, self.stop, self.form, self.label = start, stop, form, label
        self.__dict__.update(kept)

    def __len__(self):
        return self.stop - self.start

    def __getitem__(self, index):
        if index >= len(self):
            raise IndexError(index)
        number = self.start + index
        return self.form(CHW[number]), self.label(LABELS[number])


def items(form, label=int):
    return Items(0, N_TRAIN, form, label), Items(N_TRAIN, N, form, label)


def arrays(images, labels=LABELS):
    return (images[:N_TRAIN], labels[:N_TRAIN]), (images[N_TRAIN:], labels[N_TRAIN:])


def picture(image, mode="RGB"):
    return Image.fromarray(image.transpose(1, 2, 0)).convert(mode)


def transformed():
    """Return items that differ from the raw images beside them.

    Images are inverted, and there are half as many classes as the raw labels have.
    """

    def part(start, stop):
        kept = {"data": HWC[start:stop], "targets": LABELS[start:stop].tolist()}
        return Items(start, stop, lambda image: 255 - image, lambda label: int(label) // 2, **kept)

    return part(0, N_TRAIN), part(N_TRAIN, N)


@pytest.fixture
def read(monkeypatch):
    """Read what a factory gives."""

    def load(result, **others):
        module = types.ModuleType("own_data")
        module.factory = result if callable(result) else lambda: result
        monkeypatch.setitem(sys.modules, "own_data", module)
        return load_dataset(Dataset(name="own_data:factory", validation_size=12), **others)

    return load


FORMS = {
    "uint8 CHW": lambda: arrays(CHW),
    "uint8 HWC": lambda: arrays(HWC),
    "uint8 tensors": lambda: arrays(torch.from_numpy(CHW), torch.from_numpy(LABELS)),
    "opacity": lambda: arrays(np.concatenate([HWC, np.full((N, 6, 6, 1), 9, np.uint8)], 3)),
    "int64": lambda: arrays(CHW.astype(np.int64)),
    "floats to 1, HWC": lambda: arrays(HWC / 255),
    "floats to 255": lambda: arrays(CHW.astype(np.float32)),
    "lists of pictures": lambda: arrays([picture(image) for image in CHW]),
    "pictures": lambda: items(picture),
    "pictures with opacity": lambda: items(lambda image: picture(image, "RGBA")),
    "HWC items": lambda: items(lambda image: image.transpose(1, 2, 0).copy()),
    "ToTensor": lambda: items(lambda image: torch.from_numpy(image).float() / 255),
    "TensorDataset": lambda: tuple(
        TensorDataset(torch.from_numpy(CHW[part]) / 255, torch.from_numpy(LABELS[part]))
        for part in (slice(0, N_TRAIN), slice(N_TRAIN, N))
    ),
    "half precision": lambda: arrays((CHW / 255).astype(np.float16)),
    "bfloat16": lambda: arrays((torch.from_numpy(CHW) / 255).bfloat16(), torch.from_numpy(LABELS)),
    "Subset": lambda: tuple(
        Subset(Items(0, N, picture), range(*part)) for part in ((0, N_TRAIN), (N_TRAIN, N))
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_that_people_have_are_made_right(form, read):
    data = read(FORMS[form]())
    assert (data.num_classes, data.in_channels, data.image_size) == (4, 3, 6)
    assert torch.equal(data.test.images, torch.from_numpy(CHW[N_TRAIN:]))
    assert data.test.labels.tolist() == LABELS[N_TRAIN:].tolist()


def test_grey_forms_have_one_channel(read):
    for result in (arrays(GREY), arrays(GREY[..., None]), items(lambda image: Image.fromarray(image[0]))):
        data = read(result)
        assert data.in_channels == 1
        assert torch.equal(data.test.images[:, 0], torch.from_numpy(GREY[N_TRAIN:]))


def test_deep_integers_are_scaled_by_their_depth(read):
    twelve_bits = GREY.astype(np.uint16) * 16
    data = read(arrays(twelve_bits))
    assert data.notes == ("Values from 0 to 4095 are scaled to 8 bits.",)
    expected = np.rint(twelve_bits[N_TRAIN:] / 4095 * 255).astype(np.uint8)
    assert torch.equal(data.test.images[:, 0], torch.from_numpy(expected))


def test_one_bit_is_black_and_white(read):
    data = read(arrays(GREY > 120))
    assert set(data.test.images.unique().tolist()) == {0, 255}


def test_transforms_of_a_set_itself_hold(read):
    data = read(transformed())
    assert data.num_classes == 2
    assert torch.equal(data.test.images, torch.from_numpy(255 - CHW[N_TRAIN:]))
    assert data.test.labels.tolist() == (LABELS[N_TRAIN:] // 2).tolist()


def test_a_target_transform_has_classes_of_its_own(read):
    def part(start, stop):
        kept = {"targets": LABELS[start:stop].tolist(), "classes": list("abcd"), "target_transform": "halves"}
        return Items(start, stop, picture, lambda label: int(label) // 2, **kept)

    data = read((part(0, N_TRAIN), part(N_TRAIN, N)))
    assert data.classes == ("0", "1")
    assert data.test.labels.tolist() == (LABELS[N_TRAIN:] // 2).tolist()


def test_noise_that_only_items_have_is_read(read):
    """One label in sixty is another one than the set keeps."""
    train = Items(0, N_TRAIN, picture, int, targets=LABELS[:N_TRAIN].tolist())
    train.targets[33] = (train.targets[33] + 1) % 4
    data = read((train, None))
    labels = torch.cat([split.labels for split in (data.train, data.validation, data.test)])
    assert torch.bincount(labels).tolist() == [15, 15, 15, 15]


def test_streamed_and_resident_items_are_the_same(read):
    held = read(FORMS["ToTensor"]())
    streamed = read(FORMS["ToTensor"](), memory_limit_bytes=1)
    assert isinstance(streamed.train.images, StreamedImages)
    assert torch.equal(streamed.train.images.gather(torch.arange(48)), held.train.images)
    assert (streamed.mean, streamed.std) == (held.mean, held.std)


def test_a_turned_picture_is_turned_back(read):
    def form(image):
        exif = Image.Exif()
        exif[0x0112] = 6  # turn by 270 degrees to see it upright
        turned = Image.fromarray(np.rot90(image.transpose(1, 2, 0)).copy())
        turned.info["exif"] = exif.tobytes()
        return turned

    assert torch.equal(read(items(form)).test.images, torch.from_numpy(CHW[N_TRAIN:]))


def _nan():
    images = CHW / 255
    images[3, 0, 0, 0] = np.nan
    return arrays(images)


def _random_transform():
    generator = np.random.default_rng(0)
    return items(lambda image: np.roll(image, generator.integers(1, 6), 2))


def _masked(values):
    """Hide the first value."""
    hidden = np.zeros(values.shape, bool)
    hidden.flat[0] = True
    return np.ma.masked_array(values, hidden)


def _masked_beside():
    """Labels are kept beside items that lack one of them."""
    hidden = _masked(LABELS[:N_TRAIN])
    first, second = items(lambda image: image)
    first.targets, first.label = hidden, lambda _: np.ma.masked
    return first, second


REFUSED = {
    "another length": (lambda: ((CHW, LABELS[:-1]), None), "one label for each image, got 80 images and 79"),
    "labels from 1": (lambda: arrays(CHW, LABELS + 1), "from 0 without gaps.*from 1 to 4 and none.* of 0"),
    "gaps": (lambda: arrays(CHW, LABELS * 5), "from 0 without gaps"),
    "labels from -1": (lambda: arrays(CHW, LABELS - 1), "one integer from 0 .*got int64 from -1"),
    "a class of the test alone": (lambda: arrays(CHW, np.where(np.arange(N) < N_TRAIN, LABELS, 4)), "of 4"),
    "one-hot": (lambda: arrays(CHW, np.eye(4)[LABELS]), "one integer from 0 for each image.*argmax"),
    "text labels": (lambda: arrays(CHW, LABELS.astype(str)), "one integer from 0"),
    "float labels": (lambda: arrays(CHW, LABELS / 1.0), "one integer from 0"),
    "rows of several lengths": (lambda: ([[CHW[0], 0], [CHW[1], 1]], None), "one integer from 0"),
    "a class of number 10⁹": (lambda: arrays(CHW, np.where(LABELS == 0, 10**9, LABELS)), "without gaps"),
    "items of two ranges": (
        lambda: items(lambda image: image.astype(np.float32) / (255 if image[0, 0, 0] % 2 else 1)),
        "in one range, got .* floats up to 1, and others up to 2",
    ),
    "one class": (lambda: arrays(CHW, LABELS * 0), "at least two classes"),
    "NaN": (_nan, "must be finite"),
    "normalised": (lambda: arrays(CHW / 128 - 1), "values from 0, got -1.*Leave out Normalize"),
    "blank": (lambda: arrays(CHW * 0 + 255), "images that differ"),
    "0 and 1 as uint8": (lambda: arrays(CHW // 128), "images that differ"),
    "other ranges": (lambda: (arrays(CHW / 255)[0], arrays(CHW.astype(float))[1]), "in one range"),
    "other shapes": (lambda: ((CHW, LABELS), (CHW[:, :, 1:, 1:], LABELS)), "of one shape in both parts"),
    "many channels": (lambda: arrays(np.concatenate([HWC, HWC], 3)), "1, 3 or 4 channels"),
    "no samples": (lambda: ((CHW[:0], LABELS[:0]), None), "must hold samples, got none"),
    "an empty test part": (lambda: ((CHW, LABELS), (CHW[:0], LABELS[:0])), "Return None"),
    "one pair": (lambda: (CHW, LABELS), "got one pair of arrays"),
    "three parts": (lambda: (*arrays(CHW), None), "got tuple of 3"),
    "a generator": (lambda: ((pair for pair in ()), None), "Give it a length and items"),
    "dictionaries": (lambda: ([{"image": CHW[0], "label": 0}] * 9, None), "items .*got dict of image, label"),
    "random transforms": (_random_transform, "same image each time.*Leave out random transforms"),
    "masked images": (lambda: arrays(_masked(CHW)), "no masked values, got 1 of 6,480.*filled"),
    "a list of masked images": (lambda: arrays([*map(_masked, CHW)]), "no masked values"),
    "items of masked images": (lambda: items(_masked), "no masked values"),
    "masked labels": (lambda: arrays(CHW, _masked(LABELS)), "no masked values, got 1 of 60"),
    "items of masked labels": (
        lambda: items(lambda image: image, lambda _: np.ma.masked),
        "no masked values",
    ),
    "categories": (
        lambda: arrays(CHW, pd.Series(["a", "b"] * (N // 2)).astype("category")),
        "one integer from 0.*Number the classes",
    ),
    "masked labels beside": (_masked_beside, "no masked values"),
    "sparse images": (lambda: ((torch.from_numpy(CHW).to_sparse(), LABELS), None), "must be dense"),
    "images on no device": (lambda: arrays(torch.from_numpy(CHW).to("meta")), "must be dense.*on meta"),
    "paths": (lambda: arrays([f"{i}.png" for i in range(N)]), "Images must be numbers, got <?U?s?t?r?"),
}


@pytest.mark.parametrize("form", REFUSED)
def test_other_forms_are_refused_in_one_line(form, read):
    result, message = REFUSED[form]
    with pytest.raises(RequestError, match=message) as told:
        read(result())
    assert "\n" not in str(told.value)
    assert "`dataset.name` 'own_data:factory'" in str(told.value)


def test_a_factory_that_fails_is_told_with_its_line(read):
    def broken():
        return {}["images"]

    def broken_in_a_library():
        return np.load("/no/such/file.npy")

    with pytest.raises(RequestError, match=r"but failed: KeyError: 'images' \(test_own_sources.py:\d+\)"):
        read(broken)
    with pytest.raises(RequestError, match=r"FileNotFoundError: .*\(test_own_sources.py:\d+\)"):
        read(broken_in_a_library)


def test_a_factory_gets_the_dataset_section_where_it_asks_for_it(read):
    got = []

    def with_options_of_its_own(root="here", *, size=3):
        got.append((root, size))
        return arrays(CHW)

    def by_name(size=3, dataset=None):
        got.append((size, dataset.validation_size))
        return arrays(CHW)

    def first(section):
        got.append(section.validation_size)
        return arrays(CHW)

    def greedy(section, size):
        return arrays(CHW)

    for factory in (with_options_of_its_own, by_name, first):
        read(factory)
    assert got == [("here", 3), (3, 12), 12]
    with pytest.raises(RequestError, match="needs section, size"):
        read(greedy)
