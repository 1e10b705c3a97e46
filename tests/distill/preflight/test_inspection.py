import sys
import types

import numpy as np
import pytest

from kdsearch.distill.preflight.contact_sheets import contact_sheet
from kdsearch.distill.preflight.inspection import inspect_data
from kdsearch.errors import RequestError
from kdsearch.spec import load_spec

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (60, 5, 5), dtype=np.uint8)
LABELS = np.repeat([0, 1, 2], [28, 28, 4])


def study(**sections):
    document = {"name": "looked-at", "tune": {"objective.temperature": {"low": 1, "high": 40}}, **sections}
    return load_spec(document)


def inspected(monkeypatch, factory):
    module = types.ModuleType("inspected_data")
    module.factory = factory
    monkeypatch.setitem(sys.modules, "inspected_data", module)
    spec = study(dataset={"name": "inspected_data:factory", "validation_size": 0.5})
    return inspect_data(spec, spec.setups()[0])


def test_a_report_counts_each_class_in_each_split(monkeypatch):
    report = inspected(monkeypatch, lambda: ((IMAGES, LABELS), (IMAGES[:8], LABELS[:8])))
    assert report.counts == {"train": (14, 14, 2), "validation": (14, 14, 2), "test": (8, 0, 0)}
    assert (report.shape, report.streamed) == ((1, 5, 5), False)
    told = " ".join(report.warnings)
    assert "Classes '1', '2' without a sample in the test split." in told
    assert "Class '2' with fewer than 5 samples to train on." in told
    assert "images of the test split are also in the training split" in told
    document = report.to_dict()
    assert document["samples"] == {"train": 30, "validation": 30, "test": 8}
    assert document["classes"][2] == {"class": "2", "train": 2, "validation": 2, "test": 0}


def test_a_sheet_shows_the_images_of_each_class(monkeypatch):
    shades = (LABELS[:, None, None] * 100 + RANDOM.integers(0, 9, (60, 5, 5))).astype(np.uint8)
    report = inspected(monkeypatch, lambda: ((shades, LABELS), None))
    sheet = np.asarray(contact_sheet(list(report.pictures.items())).convert("L"))
    rows = [sheet[4 + 68 * row : 68 + 68 * row, 160:224].mean() for row in range(3)]
    assert rows == pytest.approx([4, 104, 204], abs=3)


def test_a_factory_that_gives_others_each_time_is_refused(monkeypatch):
    generator = np.random.default_rng(0)

    def random():
        return (generator.integers(0, 256, (60, 5, 5), dtype=np.uint8), LABELS), None

    with pytest.raises(RequestError, match="same samples each time, got others the second time"):
        inspected(monkeypatch, random)


def test_the_data_of_a_pretraining_are_reported_too():
    spec = study(
        dataset={"name": "digits", "train_size": 50, "validation_size": 60},
        teacher={"pretraining": {"dataset": "digits", "epochs": 1}},
    )
    report = inspect_data(spec, spec.setups()[0])
    (first,) = report.pretraining
    assert first.role == "teacher.pretraining.dataset"
    assert first.to_dict()["samples"] == report.to_dict()["samples"]
