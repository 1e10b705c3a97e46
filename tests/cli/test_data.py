"""`kdsearch data`: what was read of a study's data."""

import json
from pathlib import Path

import pytest
from PIL import Image

from kdsearch.cli.main import run
from kdsearch.distill.preflight import inspection

SPEC = """name: looked-at
dataset: {{name: imagefolder, root: {root}, validation_size: 4}}
tune: {{objective.temperature: {{low: 1, high: 40, log: true}}}}
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    for label, name in enumerate(("cat", "dog")):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(10):
            shade = 40 + 150 * label + number
            Image.new("L", (6, 6), shade).save(tmp_path / "images" / name / f"{number}.png")
    file = tmp_path / "study.yaml"
    file.write_text(SPEC.format(root=tmp_path / "images"))
    return file


def test_data_are_shown_with_a_sheet(spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sheet = tmp_path / "sheet.png"
    assert run(["data", str(spec), "--sheet", str(sheet), "--format", "json"]) == 0
    (report,) = json.loads(capsys.readouterr().out)["data"]
    assert report["samples"] == {"train": 12, "validation": 4, "test": 4}
    assert report["classes"][1] == {"class": "dog", "train": 6, "validation": 2, "test": 2}
    assert report["shape"] == [1, 6, 6]
    with Image.open(sheet) as image:
        assert image.format == "PNG"
    assert run(["data", str(spec)]) == 0
    assert "dog" in capsys.readouterr().out


def test_a_bad_file_is_named_or_skipped(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (spec.parent / "images/cat/7.png").write_text("<html>404</html>")
    assert run(["data", str(spec)]) == 2
    told = capsys.readouterr().err
    assert "cat/7.png" in told
    assert told.count("\n") == 1
    assert run(["data", str(spec), "--set", "dataset.skip_bad=true"]) == 0
    assert "1 images can't be read and are left out" in capsys.readouterr().out


def test_large_images_are_told_with_what_becomes_of_them(
    spec: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    load = inspection.load_dataset
    monkeypatch.setattr(inspection, "load_dataset", lambda dataset: load(dataset, memory_limit_bytes=1))
    assert run(["data", str(spec), "--set", "dataset.image_size=1000"]) == 0
    told = "1 × 1000 × 1000, streamed (0.02 GB: kept decoded where two thirds of a GPU's memory stay free, or"
    assert told in " ".join(capsys.readouterr().out.split())
