"""What a worker makes of a user's code that fails while a pack trains."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kdsearch.schedule.workers import trainable
from kdsearch.search import Pack
from kdsearch.spec import load_spec
from kdsearch.trial import Trial

SOURCE = """
import sys

def breaks(student_logits, teacher_logits, targets, temperature):
    return {}["weights"]

def ends(student_logits, teacher_logits, targets, temperature):
    sys.exit("no weights")
"""


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("breaks", "KeyError: 'weights' (failing_objectives.py:5)"),
        ("ends", "it ended the program: SystemExit: no weights (failing_objectives.py:8)"),
    ],
)
def test_it_fails_the_trials_with_its_place(
    name: str, told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "failing_objectives.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    sent: list[dict[str, Any]] = []
    context = SimpleNamespace(get_node_id=lambda: "node")
    monkeypatch.setattr(trainable.ray, "get_runtime_context", lambda: context)
    monkeypatch.setattr(trainable.tune, "report", sent.append)
    spec = load_spec(
        {
            "name": "s",
            "dataset": {"name": "digits", "train_size": 100, "validation_size": 50},
            "student": {"arch": "mlp_4"},
            "teacher": {"arch": "mlp_4", "finetune": {"epochs": 1}},
            "training": {"epochs": 1},
            "objective": {"name": f"failing_objectives:{name}"},
            "tune": {"objective.temperature": {"low": 1, "high": 40, "log": True}},
            "resources": {"gpus_per_pack": 0},
        }
    )
    pack = Pack("p", [Trial(0, 0, {}, {"objective.temperature": 2.0}, spec.resolve({}, {}))])
    trainable.run_pack(
        {"pack": pack.to_dict()},
        document=spec.model_dump(mode="json"),
        artifacts=str(tmp_path / "artifacts"),
        folder=str(tmp_path),
    )
    (result,) = sent[-1]["results"]
    assert (result["state"], result["reason"]) == ("failed", told)
