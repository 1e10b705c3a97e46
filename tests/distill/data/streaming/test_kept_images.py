"""Large sets of images: the same bits decoded anew, kept on the host, kept on a device; and what decides."""

import logging
from contextlib import closing

import numpy as np
import pytest
import torch
from PIL import Image

from kdsearch.distill.data import images as images_module
from kdsearch.distill.data.dataset import load_dataset
from kdsearch.distill.data.images import StreamedImages
from kdsearch.distill.data.streaming import kept_images
from kdsearch.distill.data.streaming.decoding import Decoder, n_workers
from kdsearch.distill.data.streaming.kept_images import HostImages, KeptImages, memory_for_images
from kdsearch.distill.data.streaming.memory import Memory
from kdsearch.distill.views.batches import Views, rendered_at_once
from kdsearch.errors import RequestError
from kdsearch.spec.sections import Augment, Dataset

CPU = torch.device("cpu")
EVERYTHING = Augment(crop_padding=2, flip=True, cutout=3, color_jitter=0.4, mixup=0.3, cutmix=0.8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photographs as they come: JPEG in colours and grey, a PNG with a palette, of several sizes."""
    root, rng = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    for name in ("cat", "dog"):
        (root / name).mkdir()
        for number in range(24):
            size = (20, 15) if number % 2 else (13, 18)
            image = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize(size)
            if number == 5:
                image.convert("P").save(root / name / "5.png")
                continue
            image.convert("L" if number % 7 == 0 else "RGB").save(root / name / f"{number}.jpg", quality=90)
    return root


def read(folder, **others):
    dataset = Dataset(name="imagefolder", root=str(folder), validation_size=4, image_size=12)
    return load_dataset(dataset, **others)


WAYS = {
    "decoded anew": lambda shape, device: None,
    "kept on the host": lambda shape, device: KeptImages(
        torch.empty(shape, dtype=torch.uint8), is_on_host=True
    ),
    "kept on a device": lambda shape, device: KeptImages(
        torch.empty(shape, dtype=torch.uint8), is_on_host=False
    ),
}


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    """Return a way in which a large set is held.

    Memory is taken without a look at what is free.
    """
    monkeypatch.setattr(images_module, "memory_for_images", WAYS[request.param])
    return request.param


def assert_same_batches(mine, theirs):
    for own, other in zip(mine, theirs, strict=True):
        for name in ("images", "labels", "partner_labels", "mix", "index"):
            assert torch.equal(getattr(own, name), getattr(other, name))


@pytest.mark.parametrize("at_once", [1, 2**21])
def test_views_are_the_same_bits_in_each_way_and_epoch(folder, way, monkeypatch, at_once):
    monkeypatch.setattr("kdsearch.distill.views.batches._RENDERED_AT_ONCE", at_once)
    held, streamed = (read(folder, memory_limit_bytes=limit) for limit in (2**30, 1))
    assert isinstance(streamed.train.images, StreamedImages)
    mine, theirs = (Views(data.train, EVERYTHING, data.mean, data.std) for data in (held, streamed))
    next(theirs.batches(7, 1, 5))  # a reader that stops leaves what it read, and no more
    for epoch in (1, 2, 1):
        assert_same_batches(mine.batches(0, epoch, 8), theirs.batches(0, epoch, 8))
    for own, other in zip(mine.plain_batches(7), theirs.plain_batches(7), strict=True):
        assert torch.equal(own.images, other.images)
    index = torch.arange(len(mine))
    in_order = torch.cat([batch.images for batch in theirs.in_order(3, 2, 8)])
    assert torch.equal(in_order, mine.batch(3, 2, index).images)


def test_kept_images_are_decoded_once(folder, way, monkeypatch):
    monkeypatch.setattr("kdsearch.distill.views.batches._RENDERED_AT_ONCE", 1)  # batch by batch
    data, decoded = read(folder, memory_limit_bytes=1), []
    views = Views(data.train, EVERYTHING, data.mean, data.std)
    tried = images_module.ImageFiles.tried
    monkeypatch.setattr(
        images_module.ImageFiles,
        "tried",
        lambda self, index, form=None: (decoded.append(index), tried(self, index, form))[1],
    )
    for epoch in (1, 2):
        assert sum(len(batch.labels) for batch in views.batches(0, epoch, 8)) == len(views)
    once = len(decoded) == len(set(decoded)) == len(views)
    assert once == (way != "decoded anew")


def test_an_image_that_can_not_be_read_is_named_in_each_way(folder, way, tmp_path):
    copy = tmp_path / "copy"
    for name in ("cat", "dog"):
        (copy / name).mkdir(parents=True)
        for file in (folder / name).iterdir():
            (copy / name / file.name).write_bytes(file.read_bytes())
    data = read(copy, memory_limit_bytes=1)
    for number in (3, 4, 9):
        (copy / f"cat/{number}.jpg").write_bytes(b"<html>404</html>")
    views = Views(data.train, EVERYTHING, data.mean, data.std)
    with pytest.raises(
        RequestError, match=r"`dataset\.root` must give images that can be read, got [123]"
    ) as told:
        list(views.batches(0, 1, len(views)))
    assert "no image of a kind that is known" in str(told.value)


def test_images_of_memory_are_brought_to_a_device_batch_by_batch():
    images = torch.arange(40, dtype=torch.uint8).view(10, 1, 2, 2)
    held, wanted = HostImages(images), [torch.tensor([3, 1, 3]), torch.tensor([9])]
    for index, found in zip(wanted, held.batches(wanted, CPU, keep=True), strict=True):
        assert torch.equal(found, images[index])
    assert torch.equal(held.gather(torch.tensor([2, 0])), images[[2, 0]])


@pytest.mark.parametrize(
    ("on_gpu", "on_host", "place"),
    [(48, 48, "meta"), (47, 48, "cpu"), (0, 47, None)],
    ids=["device", "host", "nowhere"],
)
def test_where_images_are_kept_is_decided_by_what_is_free(monkeypatch, caplog, on_gpu, on_host, place):
    monkeypatch.setattr(kept_images, "room_on", lambda where: on_host if where == CPU else on_gpu)
    with caplog.at_level(logging.INFO):
        kept = memory_for_images((4, 3, 2, 2), torch.device("meta"))  # stands for a GPU
    assert (None if kept is None else kept._pixels.device.type) == place
    told = "decoded in each epoch: no memory is free" if place is None else f"kept decoded on {place}"
    assert told in caplog.text


def test_memory_that_is_not_given_is_done_without(monkeypatch):
    def refused(shape, place):
        if place.type == "meta":
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return torch.empty(shape, dtype=torch.uint8)

    monkeypatch.setattr(kept_images, "room_on", lambda where: 2**40)
    monkeypatch.setattr(kept_images, "_committed", refused)
    kept = memory_for_images((4, 3, 2, 2), torch.device("meta"))
    assert kept is not None
    assert kept._pixels.device == CPU


def test_workers_are_a_gpus_share_of_the_cores_or_four(tmp_path, monkeypatch):
    monkeypatch.setattr("kdsearch.distill.data.streaming.decoding._CPUS", 96)
    assert n_workers(tmp_path) == 4
    for name in ("nvidia0", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert n_workers(tmp_path) == 32
    for number in range(1, 8):
        (tmp_path / f"nvidia{number}").touch()
    assert n_workers(tmp_path) == 12


class Numbers(torch.utils.data.Dataset):
    def __getitem__(self, index):
        return index, torch.utils.data.get_worker_info()


def numbers_and_workers(samples):
    return [number for number, _ in samples], {
        None if worker is None else worker.seed for _, worker in samples
    }


def taken(decoder, batches):
    """Return the numbers of each batch, and who decoded them."""
    found = list(decoder.decoded(batches))
    numbers = [[number for own, _ in pieces for number in own] for pieces in found]
    return numbers, {worker for pieces in found for _, workers in pieces for worker in workers}


@pytest.fixture
def processes(monkeypatch):
    """Count the worker processes that are started."""
    started, start = [], torch.utils.data.dataloader._MultiProcessingDataLoaderIter.__init__

    def counted(self, loader):
        started.append(loader.num_workers)
        start(self, loader)

    monkeypatch.setattr(torch.utils.data.dataloader._MultiProcessingDataLoaderIter, "__init__", counted)
    monkeypatch.setattr("kdsearch.distill.data.streaming.decoding.n_workers", lambda: 2)
    monkeypatch.setattr("kdsearch.distill.data.streaming.decoding._WORTH_WORKERS", 3)
    return started


def test_workers_stay_from_one_epoch_to_the_next(processes):
    decoder = Decoder(Numbers(), numbers_and_workers, 100)
    first, second = [[5, 3], [*range(70)]], [[1, 2, 9], [8]]
    assert taken(decoder, first)[0] == first
    with closing(decoder.decoded(first)) as left:
        next(left)
    assert taken(decoder, second)[0] == second
    assert processes == [2]
    assert taken(decoder, [[4], [2]]) == ([[4], [2]], {None})  # few: in this process


def test_two_readers_at_once_do_not_mix(processes):
    decoder = Decoder(Numbers(), numbers_and_workers, 100)
    with closing(decoder.decoded([[1, 2], [3, 4]])) as one:
        assert next(one)[0][0] == [1, 2]
        assert taken(decoder, [[7, 8, 9, 6]])[0] == [[7, 8, 9, 6]]
        assert next(one)[0][0] == [3, 4]


@pytest.mark.parametrize(("shared", "workers"), [(100 * 2 * 2 * 4, 2), (100 * 2 * 2, 1), (300, 0)])
def test_no_more_is_decoded_ahead_than_shared_memory_takes(processes, monkeypatch, shared, workers):
    monkeypatch.setattr("kdsearch.distill.data.streaming.decoding.shared_memory_bytes", lambda: shared)
    decoder = Decoder(Numbers(), numbers_and_workers, 100)
    assert taken(decoder, [[*range(9)]])[0] == [[*range(9)]]
    assert processes == [workers] * (workers > 0)


@pytest.mark.parametrize(("total", "values"), [(80, 2**25), (16, 2**23), (1, 2**21)])
def test_a_gpu_renders_more_at_once(monkeypatch, total, values):
    monkeypatch.setattr("kdsearch.distill.views.batches.memory_of", lambda device: Memory(total * 2**30, 5))
    assert rendered_at_once(torch.device("cuda")) == values
    assert rendered_at_once(CPU) == 2**21
