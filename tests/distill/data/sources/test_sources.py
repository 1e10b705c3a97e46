import inspect
import sys

import pytest
import torch
import torchvision
from PIL import Image

from kdsearch.distill.data.images import Form
from kdsearch.distill.data.sources.loading import load_source
from kdsearch.distill.data.sources.torchvision_sets import TORCHVISION_PARTS
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
    if name == "PCAM":
        pytest.importorskip("h5py")
    with pytest.raises(
        RequestError, match=rf"`dataset\.root` must hold the files of {name}, got '{tmp_path}'"
    ):
        load_source(Dataset(name=name, root=str(tmp_path)))
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_a_package_that_a_data_set_needs_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(RequestError, match=r"`dataset\.name` 'PCAM' needs h5py\. Install it\."):
        load_source(Dataset(name="PCAM", root=str(tmp_path)))


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
