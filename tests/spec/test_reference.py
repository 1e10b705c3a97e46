"""The page of the study file has every field.

Each is as the models have it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from kdsearch.spec import study_schema
from kdsearch.spec.reference import COMMAND, PAGE, SEE, reference, with_reference


def fields(schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for section in (schema, *schema["$defs"].values()):
        for name, field in section["properties"].items():
            referred = schema["$defs"].get(field.get("$ref", "").rpartition("/")[2], {})
            yield f"{section['title']}.{name}", {**referred, **field}


def test_every_field_has_a_sentence() -> None:
    described = {name: field.get("description", "") for name, field in fields(study_schema())}
    assert described["Training.splits"].startswith("Among how many splits")
    assert [name for name, text in described.items() if not text.endswith(".")] == []


def test_the_page_is_what_the_models_say() -> None:
    page = PAGE.read_text()
    assert page == with_reference(page), f"{PAGE} is not what kdsearch/spec says. Run: {COMMAND}"


def test_a_part_that_was_edited_is_made_anew() -> None:
    page = PAGE.read_text()
    edited = page.replace("Fixes the split", "Decides the split")
    assert edited != page
    assert with_reference(edited) == page


def test_chapters_are_named_for_paths_that_exist() -> None:
    assert [path for path in SEE if f"| `{path}` |" not in reference()] == []


@pytest.mark.parametrize(
    "row",
    [
        "| `optimizer.momentum` | number, at least 0, below 1 | `0.9` |",
        "| `training.splits` | whole number, at least 2 | `4` |",
        "| `search.stop.regret` | number, above 0 | none |",
        "| `resources.stall_minutes` | number of minutes, above 0 | none |",
        "| `search.pruner` | `hopeless`, `median`, `asha`, `wilcoxon`, `none` | `hopeless` |",
        "| `student.init` | `random`, or [Pretraining](#pretraining) | `random` |",
        "| `quantity` | `best_temperature`, `shared_temperature`, `spread`, `crossing`, `accuracy` | required |",
    ],
)
def test_a_field_has_its_values_bounds_unit_and_default(row: str) -> None:
    assert row in reference()
