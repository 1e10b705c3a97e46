"""The JSON schema of a study file: it takes what `load_spec` takes, and refuses misspelt keys and types."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from kdsearch.spec import spec_document, study_schema
from kdsearch.spec.loading import load_spec

STUDIES = sorted(Path("studies").glob("*.yaml"))
SCHEMA = study_schema()
CHECK = jsonschema.Draft202012Validator(SCHEMA)


def document(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_that_is_shipped_is_valid(path: Path) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    CHECK.validate(document(path))


@pytest.mark.parametrize(
    "wrong",
    [
        {"optimiser": {"name": "sgd"}},
        {"optimizer": {"lr": "fast"}},
        {"training": {"epochs": 0}},
        {"tune": {"optimizer.lr": {"low": 1}}},
        {"tune": {"optimizer.lr": {"by": "optimizer.name", "sgd": {"low": 1, "height": 2}}}},
        {"setup": {"optimizer.name": []}},
        {"name": "no name"},
    ],
)
def test_what_load_spec_refuses_by_its_shape_is_invalid(wrong: dict[str, Any]) -> None:
    right = {"name": "a", "tune": {"objective.temperature": {"low": 1, "high": 40, "log": True}}}
    CHECK.validate(right)
    assert not CHECK.is_valid({**right, **wrong})
    with pytest.raises(ValueError, match="mistake"):
        load_spec({**right, **wrong})


def test_sections_of_the_schema_are_those_of_the_spec() -> None:
    (path,) = [path for path in STUDIES if path.stem == "quickstart"]
    assert set(SCHEMA["properties"]) == set(spec_document(load_spec(path)))
