"""The results of the paper's questions: each page says what its tables hold, and is of a study that is shipped."""

import csv
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from kdsearch.distill.data.labels import merge_labels
from kdsearch.spec import load_spec
from kdsearch.spec.sections import Dataset

RESULTS, STUDIES = Path("docs/results"), Path("studies/paper")
NAMES = sorted(file.name.removesuffix("-trials.csv") for file in RESULTS.glob("*-trials.csv"))


@pytest.mark.parametrize("name", NAMES)
def test_a_page_has_the_claims_of_its_study_and_the_verdicts_of_its_table(name: str) -> None:
    page = (RESULTS / f"{name}.md").read_text()
    shown = re.findall(r"^\| \d+\. (.*?) \| ([a-z ]+) \|", page, flags=re.MULTILINE)
    with (RESULTS / f"{name}-verdicts.csv").open(newline="") as lines:
        assert shown == [(row["says"], row["verdict"]) for row in csv.DictReader(lines)]
    spec = load_spec(STUDIES / f"{name}.yaml")
    assert [says for says, _ in shown] == [claim.says for claim in spec.claims]
    with (RESULTS / f"{name}-trials.csv").open(newline="") as lines:
        assert len(list(csv.DictReader(lines))) == spec.search.trials


def test_every_small_study_has_been_run_and_is_listed() -> None:
    assert {file.stem for file in STUDIES.glob("*-small.yaml")} == set(NAMES)
    listed = re.findall(r"^- \[(\S+)\]\(\1\.md\)", (RESULTS / "README.md").read_text(), flags=re.MULTILINE)
    assert set(listed) == {*NAMES, "public"}


def test_groups_of_clothes_name_each_class_as_torchvision_does() -> None:
    torch = pytest.importorskip("torch")
    classes = tuple(pytest.importorskip("torchvision").datasets.FashionMNIST.classes)
    dataset = Dataset(name="FashionMNIST", labels=str(STUDIES / "fashion-groups.yaml"))
    merged, groups = merge_labels(torch.arange(10), classes, dataset)
    assert groups == ("bags", "footwear", "tops", "trousers and dresses")
    assert merged.tolist() == [2, 3, 2, 3, 2, 1, 2, 1, 0, 1]


def test_solar_cells_are_labelled_by_silicon_and_defect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By two cells that lie as in the package: a certain one of each end."""
    torch = pytest.importorskip("torch")
    from studies.paper import solar_cells

    (tmp_path / "data").mkdir()
    for name, grey in (("a.png", 40), ("b.png", 200)):
        Image.fromarray(np.full((300, 300), grey, np.uint8)).save(tmp_path / "data" / name)
    (tmp_path / "data" / "labels.csv").write_text("a.png   0.0  mono\nb.png 1.0   poly\n")
    package = SimpleNamespace(__file__=str(tmp_path / "__init__.py"))
    monkeypatch.setitem(sys.modules, "elpv_dataset", package)
    (images, labels), test = solar_cells.cells()
    assert test is None
    assert images.shape == (2, 16, 16)
    assert images[:, 0, 0].tolist() == [40, 200]
    assert labels.tolist() == [0, 7]
    dataset = Dataset(name="studies.paper.solar_cells:cells", labels=str(STUDIES / "cells-defective.yaml"))
    merged, names = merge_labels(torch.tensor([0, 1, 2, 7]), None, dataset)
    assert [names[label] for label in merged.tolist()] == [
        "functional",
        "functional",
        "defective",
        "defective",
    ]
