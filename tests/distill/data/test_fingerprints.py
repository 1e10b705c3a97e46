import os
import shutil

import numpy as np
import pytest
from PIL import Image

from kdsearch.distill.data import fingerprints
from kdsearch.distill.data.fingerprints import code_fingerprint, data_fingerprint
from kdsearch.distill.teachers.recipes import recipe_of
from kdsearch.spec import TrainingSpec
from kdsearch.spec.sections import Dataset


@pytest.fixture
def folder(tmp_path):
    for label, name in enumerate("ab"):
        (tmp_path / "one" / name).mkdir(parents=True)
        for number in range(6):
            Image.new("L", (4, 4), 90 * label + number).save(tmp_path / "one" / name / f"{number}.png")
    return tmp_path / "one"


def of(folder):
    return data_fingerprint(Dataset(name="imagefolder", root=str(folder)))


def digest(folder, **teacher):
    document = {"dataset": {"name": "imagefolder", "root": str(folder)}, "teacher": teacher}
    return recipe_of(TrainingSpec.model_validate(document)).digest


def test_a_moved_folder_is_the_same_data(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    os.utime(tmp_path / "copy/a/0.png", (1, 1))
    assert of(tmp_path / "copy") == of(folder)
    assert digest(tmp_path / "copy") == digest(folder)


def _edit(folder):
    Image.new("L", (4, 4), 77).save(folder / "a/0.png")


def _add(folder):
    shutil.copy(folder / "a/0.png", folder / "a/9.png")


def _relabel(folder):
    (folder / "a/0.png").rename(folder / "b/0a.png")


def _rename_class(folder):
    (folder / "a").rename(folder / "c")


@pytest.mark.parametrize("change", [_edit, _add, _relabel, _rename_class])
def test_other_images_below_the_same_root_are_other_data(change, folder):
    before = of(folder), digest(folder)
    change(folder)
    assert of(folder) != before[0]
    assert digest(folder) != before[1]


def test_large_folders_are_known_by_sizes_and_times(folder, monkeypatch):
    monkeypatch.setattr(fingerprints, "READ_WHOLE_BYTES", 10)
    before = of(folder)
    assert of(folder) == before
    os.utime(folder / "a/0.png", (1, 1))
    assert of(folder) != before


def test_the_environments_root_counts_by_what_it_holds(folder, tmp_path, monkeypatch):
    shutil.copytree(folder, tmp_path / "two")
    _edit(tmp_path / "two")
    found = []
    for root in (folder, tmp_path / "two"):
        monkeypatch.setenv("KDSEARCH_DATA", str(root))
        found.append(recipe_of(TrainingSpec.model_validate({"dataset": {"name": "imagefolder"}})).digest)
    assert found[0] != found[1]


def test_pretraining_counts_by_its_data(folder):
    def asked():
        start = {"dataset": "imagefolder", "epochs": 1, "root": str(folder)}
        document = {"dataset": {"name": "digits"}, "teacher": {"pretraining": start}}
        return recipe_of(TrainingSpec.model_validate(document)).digest

    before = asked()
    _edit(folder)
    assert asked() != before


def test_what_a_factory_gives_counts(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    np.save(tmp_path / "labels.npy", np.arange(12) % 2)
    (tmp_path / "mine_fingerprinted.py").write_text(
        "import numpy as np\nfrom pathlib import Path\nFILE = Path(__file__).with_name('labels.npy')\n"
        "def data():\n    return (np.arange(48, dtype=np.uint8).reshape(12, 2, 2) * 5, np.load(FILE)), None\n"
    )
    dataset = Dataset(name="mine_fingerprinted:data")
    before = data_fingerprint(dataset)
    assert data_fingerprint(dataset) == before
    np.save(tmp_path / "labels.npy", np.arange(12)[::-1] % 2)
    assert data_fingerprint(dataset) != before


def test_code_counts_with_what_it_imports_but_not_its_comments(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_net.py").write_text("import own_layers\ndef net(n):\n    return own_layers.layer(n)\n")
    (tmp_path / "own_layers.py").write_text("def layer(n):\n    return n\n")
    before = code_fingerprint("own_net:net")
    (tmp_path / "own_layers.py").write_text("# a comment\n\ndef layer(n):\n    return (n)\n")
    assert code_fingerprint("own_net:net") == before
    (tmp_path / "own_layers.py").write_text("def layer(n):\n    return n + 1\n")
    assert code_fingerprint("own_net:net") != before
    document = {"teacher": {"arch": "own_net:net"}}
    first = recipe_of(TrainingSpec.model_validate(document)).digest
    (tmp_path / "own_net.py").write_text(
        "import own_layers\ndef net(n):\n    return own_layers.layer(2 * n)\n"
    )
    assert recipe_of(TrainingSpec.model_validate(document)).digest != first


@pytest.mark.parametrize("name", ["optimizer", "schedule"])
@pytest.mark.parametrize("part", ["finetune", "pretraining"])
def test_the_code_that_trains_a_teacher_counts(tmp_path, monkeypatch, part, name):
    monkeypatch.syspath_prepend(tmp_path)
    own = {"epochs": 2, name: f"own_{part}_{name}:make"} | (
        {"dataset": "digits"} if part == "pretraining" else {}
    )
    file = tmp_path / f"own_{part}_{name}.py"
    file.write_text("def make(groups):\n    return 1\n")
    document = {"teacher": {part: own}}
    first = recipe_of(TrainingSpec.model_validate(document))
    file.write_text("def make(groups):  # a comment\n    return 1\n")
    assert recipe_of(TrainingSpec.model_validate(document)).digest == first.digest
    file.write_text("def make(groups):\n    return 2\n")
    second = recipe_of(TrainingSpec.model_validate(document))
    assert second.digest != first.digest
    assert second.is_like(first.to_dict())


@pytest.mark.parametrize("name", ["resnet8", "torchvision:resnet18", "timm:resnet18", "no_such_module:net"])
def test_what_is_no_users_code_has_no_fingerprint(name):
    assert code_fingerprint(name) is None
