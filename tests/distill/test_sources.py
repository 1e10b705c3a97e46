import inspect

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from kdsearch.distill.images import Form
from kdsearch.distill.sources import load_source
from kdsearch.distill.torchvision_sets import TORCHVISION_PARTS
from kdsearch.errors import RequestError
from kdsearch.spec.catalogue import TORCHVISION_DATASETS
from kdsearch.spec.sections import Dataset


def test_every_torchvision_data_set_of_the_catalogue_has_its_parts():
    assert set(TORCHVISION_PARTS) == set(TORCHVISION_DATASETS)


@pytest.mark.parametrize("name", TORCHVISION_DATASETS)
def test_parts_are_arguments_of_the_class(name):
    parts = TORCHVISION_PARTS[name]
    signature = inspect.signature(getattr(torchvision.datasets, name))
    for arguments in (*parts.train, parts.test or {}):
        signature.bind("root", **arguments)
    takes_others = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    assert ("download" in signature.parameters) or takes_others or not parts.can_download


@pytest.mark.parametrize("name", TORCHVISION_DATASETS)
def test_missing_files_are_named_with_what_to_do(name, tmp_path):
    with pytest.raises(
        RequestError, match=rf"`dataset\.root` must hold the files of {name}, got '{tmp_path}'"
    ):
        load_source(Dataset(name=name, root=str(tmp_path)))
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(int(n).to_bytes(4, "big") for n in array.shape)
    path.write_bytes(header + array.tobytes())


def test_fashion_mnist_is_read_from_raw_files(tmp_path):
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for part, n_images in (("train", 30), ("t10k", 20)):
        write_idx(raw / f"{part}-images-idx3-ubyte", rng.integers(0, 256, (n_images, 28, 28), dtype=np.uint8))
        write_idx(raw / f"{part}-labels-idx1-ubyte", (np.arange(n_images) % 10).astype(np.uint8))
    source = load_source(Dataset(name="FashionMNIST", root=str(tmp_path)))
    assert (len(source.images), source.n_test) == (50, 20)
    assert source.labels.tolist() == [*range(10)] * 5
    assert source.images.native_form().size == 28
    assert source.classes[0] == "T-shirt/top"


def test_a_data_set_in_one_piece_is_read_from_its_folder(tmp_path):
    for label in ("Forest", "River"):
        folder = tmp_path / "eurosat" / "2750" / label
        folder.mkdir(parents=True)
        for number in range(5):
            Image.new("RGB", (64, 64)).save(folder / f"{label}_{number}.jpg")
    source = load_source(Dataset(name="EuroSAT", root=str(tmp_path)))
    assert (len(source.images), source.n_test, source.classes) == (10, None, ("Forest", "River"))
    assert source.labels.tolist() == [0] * 5 + [1] * 5


def test_the_data_root_is_read_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("KDSEARCH_DATA", str(tmp_path))
    with pytest.raises(RequestError, match=str(tmp_path)):
        load_source(Dataset(name="SVHN"))


def test_sun397_is_read_in_the_order_of_its_paths(tmp_path):
    names = ["/a/abbey", "/b/bar"]
    (tmp_path / "SUN397").mkdir()
    (tmp_path / "SUN397" / "ClassName.txt").write_text("\n".join(names) + "\n")
    for shade, name in ((200, names[1]), (10, names[0])):
        folder = tmp_path / "SUN397" / name[1:]
        folder.mkdir(parents=True)
        for number in (2, 1):
            Image.new("RGB", (8, 8), (shade + number,) * 3).save(folder / f"sun_{number}.jpg")
    source = load_source(Dataset(name="SUN397", root=str(tmp_path)))
    assert source.labels.tolist() == [0, 0, 1, 1]
    images = source.images.load(torch.arange(4), Form(3, 8))
    assert images[:, 0, 0, 0].tolist() == [11, 12, 201, 202]
