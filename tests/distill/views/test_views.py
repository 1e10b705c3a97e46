import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import stats

from kdsearch.distill.data.dataset import Split, load_dataset
from kdsearch.distill.data.images import StreamedImages
from kdsearch.distill.views.batches import Views
from kdsearch.spec.sections import Augment, Dataset

N, SIZE = 24, 7  # an odd size has a middle pixel, which flips leave where it is
RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (N, 3, SIZE, SIZE), dtype=np.uint8)
LABELS = RNG.integers(0, 5, N)
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)  # channels differ, so that none passes for another
EVERYTHING = Augment(crop_padding=2, flip=True, cutout=3, color_jitter=0.4, mixup=0.3, cutmix=0.8)
WORD = 2**32 - 1  # 32 bits, as on a GPU

# The twin below is written sample by sample in plain Python, from the definitions alone.


def mix(x):
    x ^= x >> 16
    x = x * 0x7FEB352D & WORD
    x ^= x >> 15
    x = x * 0x846CA68B & WORD
    return x ^ x >> 16


def roll(n_sides, view_seed, epoch, stream, sample):
    key = 0
    for number in (view_seed, epoch, stream):
        for word in (number & WORD, number >> 32):
            key = mix((key ^ word) + 0x9E3779B9 & WORD)
    return mix(mix(sample ^ key) + mix(key ^ 0x9E3779B9) & WORD) * n_sides >> 32


def square(centre, width, size):
    edges = []
    for middle in centre:
        start = middle - width // 2
        edges += [min(max(start, 0), size), min(max(start + width, 0), size)]
    return edges


def unmixed_by_hand(images, augment, view_seed, epoch, sample):
    def dice(n_sides, stream):
        return roll(n_sides, view_seed, epoch, stream, sample)

    pad, n_channels = augment.crop_padding, images.shape[1]
    padded = np.pad(images[sample].astype(float), ((0, 0), (pad, pad), (pad, pad)))
    top, left = dice(2 * pad + 1, 1), dice(2 * pad + 1, 2)
    image = padded[:, top : top + SIZE, left : left + SIZE]
    if augment.flip and dice(2, 3):
        image = image[:, :, ::-1]
    if augment.color_jitter:
        steps = ((2 * dice(2**16, stream) + 1) / 2**16 - 1 for stream in (6, 7, 8))
        brightness, contrast, saturation = (1 + augment.color_jitter * step for step in steps)
        weights = np.array([0.299, 0.587, 0.114] if n_channels == 3 else [1.0])[:, None, None]
        image = image * brightness
        mean = (weights * image).sum(0).mean()
        image = contrast * image + (1 - contrast) * mean
        if n_channels == 3:
            image = saturation * image + (1 - saturation) * (weights * image).sum(0)
        image = image.clip(0, 255)
    mean, std = (np.array(values)[:n_channels, None, None] for values in (MEAN, STD))
    image = (image / 255 - mean) / std
    if augment.cutout:
        top, bottom, left, right = square((dice(SIZE, 4), dice(SIZE, 5)), augment.cutout, SIZE)
        image[:, top:bottom, left:right] = 0
    return image


def view_by_hand(images, augment, view_seed, epoch, sample):
    """Return a sample's view, its partner (or None) and its own weight."""

    def dice(n_sides, stream):
        return roll(n_sides, view_seed, epoch, stream, sample)

    own = unmixed_by_hand(images, augment, view_seed, epoch, sample)
    if not (augment.mixup or augment.cutmix):
        return own, None, None
    partner = dice(len(images), 9)
    other = unmixed_by_hand(images, augment, view_seed, epoch, partner)
    level = (dice(2**16, 11) + 0.5) / 2**16
    if augment.cutmix and (not augment.mixup or dice(2, 10)):
        width = math.floor(SIZE * math.sqrt(1 - stats.beta.ppf(level, augment.cutmix, augment.cutmix)))
        top, bottom, left, right = square((dice(SIZE, 12), dice(SIZE, 13)), width, SIZE)
        own = own.copy()
        own[:, top:bottom, left:right] = other[:, top:bottom, left:right]
        return own, partner, 1 - (bottom - top) * (right - left) / SIZE**2
    weight = stats.beta.ppf(level, augment.mixup, augment.mixup)
    return weight * own + (1 - weight) * other, partner, weight


def views_of(augment, images=COLOUR, labels=LABELS, dtype=torch.float32):
    n_channels = images.shape[1]
    split = Split(torch.from_numpy(images), torch.from_numpy(labels))
    return Views(split, augment, MEAN[:n_channels], STD[:n_channels], dtype=dtype)


@pytest.mark.parametrize("n_channels", [1, 3])
@pytest.mark.parametrize(
    "augment",
    [
        Augment(),
        Augment(crop_padding=1),
        Augment(crop_padding=3, flip=True),
        Augment(cutout=4),
        Augment(color_jitter=0.7),
        Augment(mixup=0.2),
        Augment(cutmix=1.0),
        EVERYTHING,
    ],
    ids=lambda augment: ",".join(augment.model_dump(exclude_defaults=True)) or "nothing",
)
def test_views_equal_a_twin_written_sample_by_sample(augment, n_channels):
    images = COLOUR[:, :n_channels]
    views = views_of(augment, images, dtype=torch.float64)
    for view_seed, epoch in ((0, 1), (7 * 2**33, 12)):
        batch = views.batch(view_seed, epoch, torch.arange(N))
        for sample in range(N):
            image, partner, weight = view_by_hand(images, augment, view_seed, epoch, sample)
            np.testing.assert_allclose(batch.images[sample], image, atol=1e-9)
            if partner is None:
                assert batch.partner_labels is None
                assert batch.mix is None
            else:
                assert int(batch.partner_labels[sample]) == LABELS[partner]
                assert float(batch.mix[sample]) == pytest.approx(weight)


@settings(max_examples=30)
@given(st.permutations(range(N)), st.integers(1, N))
def test_views_are_the_same_bits_in_any_order_and_batch_size(order, batch_size):
    views = views_of(EVERYTHING)
    whole = views.batch(3, 5, torch.arange(N))
    for start in range(0, N, batch_size):
        index = torch.tensor(order[start : start + batch_size])
        batch = views.batch(3, 5, index)
        for name in ("images", "labels", "partner_labels", "mix"):
            assert torch.equal(getattr(batch, name), getattr(whole, name)[index])


@pytest.mark.parametrize("batch_size", [1, 5, 8, 23, 24, 100])
def test_batches_of_an_epoch_are_slices_of_its_order(batch_size):
    views = views_of(EVERYTHING)
    batches = list(views.batches(1, 2, batch_size))
    assert len(batches) == views.n_batches(batch_size)
    index = torch.cat([batch.index for batch in batches])
    assert torch.equal(index, views.order(1, 2))
    assert sorted(index.tolist()) == list(range(N))
    for batch in batches:
        again = views.batch(1, 2, batch.index)
        for name in ("images", "labels", "partner_labels", "mix"):
            assert torch.equal(getattr(batch, name), getattr(again, name))


def test_a_single_sample_left_over_joins_the_batch_before_it():
    assert [len(batch.index) for batch in views_of(Augment()).batches(0, 1, 23)] == [24]
    assert [len(batch.index) for batch in views_of(Augment()).batches(0, 1, 11)] == [11, 11, 2]
    assert [len(batch.index) for batch in views_of(Augment()).batches(0, 1, 1)] == [1] * N


def test_views_and_order_change_with_the_epoch_and_the_view_seed():
    views = views_of(Augment(crop_padding=2, flip=True))
    index = torch.arange(N)
    images = [views.batch(seed, epoch, index).images for seed, epoch in ((0, 1), (0, 2), (1, 1), (0, 1))]
    assert torch.equal(images[0], images[3])
    assert not torch.equal(images[0], images[1])
    assert not torch.equal(images[0], images[2])
    orders = {tuple(views.order(seed, epoch).tolist()) for seed in range(3) for epoch in range(5)}
    assert len(orders) == 15


def test_plain_images_are_only_normalised():
    views = views_of(EVERYTHING, dtype=torch.float64)
    expected = (COLOUR / 255 - np.array(MEAN)[:, None, None]) / np.array(STD)[:, None, None]
    np.testing.assert_allclose(views.plain(torch.arange(N)), expected, atol=1e-12)
    batches = list(views.plain_batches(7))
    assert torch.equal(torch.cat([batch.images for batch in batches]), views.plain(torch.arange(N)))
    assert torch.equal(torch.cat([batch.labels for batch in batches]), torch.from_numpy(LABELS))


def test_crop_offsets_are_uniform_and_half_of_the_images_are_flipped():
    n_images = 6000
    images = np.zeros((n_images, 1, 3, 3), np.uint8)
    images[:, 0, 1, 1], images[:, 0, 1, 2] = 1, 2
    split = Split(torch.from_numpy(images), torch.zeros(n_images, dtype=torch.int64))
    views = Views(split, Augment(crop_padding=1, flip=True), (0.0,), (1 / 255,))
    seen = views.batch(0, 1, torch.arange(n_images)).images.round()
    rows = (seen == 1).flatten(1).int().argmax(1) // 3
    assert stats.chisquare(rows.bincount(minlength=3).numpy()).pvalue > 1e-3
    both = ((seen == 1).flatten(1).any(1)) & ((seen == 2).flatten(1).any(1))
    flipped = (seen[both] * torch.tensor([1.0, 2, 3])).flatten(1)
    place = (seen[both].flatten(2)[:, 0] == 1).int().argmax(1) % 3
    other = (seen[both].flatten(2)[:, 0] == 2).int().argmax(1) % 3
    assert len(flipped) > n_images / 2
    share = float((other < place).double().mean())
    assert abs(share - 0.5) < 4 * 0.5 / len(place) ** 0.5


def test_mixing_weights_follow_their_distribution():
    n_images = 4000
    images, labels = np.zeros((n_images, 1, 4, 4), np.uint8), np.arange(n_images)
    for concentration in (0.2, 1.0):
        weights = views_of(Augment(mixup=concentration), images, labels).batch(0, 1, torch.arange(n_images))
        expected = stats.beta(concentration, concentration)
        assert stats.kstest(weights.mix.double().numpy(), expected.cdf).pvalue > 1e-3
        counts = np.bincount(weights.partner_labels.numpy() * 10 // n_images, minlength=10)
        assert stats.chisquare(counts).pvalue > 1e-3


class Pictures:
    def __len__(self):
        return 600

    def __getitem__(self, index):
        return Image.fromarray(COLOUR[index % N].transpose(1, 2, 0)), int(LABELS[index % N])


def pictures():
    return Pictures(), None


@pytest.mark.parametrize("n_workers", [0, 1, 2])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_streamed_views_are_the_same_bits_as_those_in_memory(n_workers, device, monkeypatch):
    monkeypatch.setattr("kdsearch.distill.data.streaming.decoding.n_workers", lambda: n_workers)
    dataset = Dataset(name=f"{__name__}:pictures", validation_size=20)
    held, streamed = (load_dataset(dataset, memory_limit_bytes=limit) for limit in (2**30, 1))
    assert isinstance(streamed.train.images, StreamedImages)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    pair = [Views(data.train, EVERYTHING, data.mean, data.std, device) for data in (held, streamed)]
    for mine, theirs in zip(*(views.batches(0, 1, 64) for views in pair), strict=True):
        for name in ("images", "labels", "partner_labels", "mix", "index"):
            assert torch.equal(getattr(mine, name), getattr(theirs, name))
    index = torch.tensor([5, 3])
    assert torch.equal(pair[0].batch(1, 2, index).images, pair[1].batch(1, 2, index).images)
    assert torch.equal(pair[0].plain(index), pair[1].plain(index))
    for mine, theirs in zip(*(views.plain_batches(100) for views in pair), strict=True):
        assert torch.equal(mine.images, theirs.images)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.gpu
def test_views_are_the_same_bits_on_a_gpu():
    split = Split(torch.from_numpy(COLOUR), torch.from_numpy(LABELS))
    here, there = (Views(split, EVERYTHING, MEAN, STD, device) for device in ("cpu", "cuda"))
    assert torch.equal(here.order(0, 1), there.order(0, 1).cpu())
    mine, theirs = (views.batch(0, 1, torch.arange(N)) for views in (here, there))
    for name in ("images", "labels", "partner_labels", "mix"):
        assert torch.equal(getattr(mine, name), getattr(theirs, name).cpu())
