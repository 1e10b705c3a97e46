"""The studies that are shipped: each is one, and what stands beside it does what it says."""

import json
import shlex
import sys
from functools import cache
from pathlib import Path

import pytest

from kdsearch.cli.main import run
from kdsearch.spec import load_spec

STUDIES = sorted(Path("studies").glob("*.yaml"))


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.stem)
def test_it_is_a_study(study: Path) -> None:
    pytest.importorskip("transformers" if study.stem == "texts" else "kdsearch")
    assert load_spec(study).name == study.stem


def test_texts_are_the_same_each_time_and_fit_their_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    monkeypatch.syspath_prepend(str(Path.cwd()))
    from kdsearch.distill.preflight.checks import check_training
    from studies import texts

    monkeypatch.setattr(texts, "CLASSES", ("linalg", "spatial"))  # others take seconds more to parse
    monkeypatch.setattr(texts, "corpus", cache(texts.corpus.__wrapped__))
    assert texts.corpus.__wrapped__() == texts.corpus()
    spec = load_spec("studies/texts.yaml")
    training = spec.resolve(spec.setups()[0], {"objective.temperature": 4.0, "optimizer.lr": 0.01})
    small = {"dataset.train_size": 160, "dataset.validation_size": 60}
    assert check_training(training.with_values(small)) == []


def test_the_script_around_trl_takes_what_its_study_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its dry run passes, and its options are those of the command.

    TRL itself is not needed for that.
    """
    monkeypatch.syspath_prepend(str(Path.cwd()))
    from studies import trl_distillation

    study = load_spec("studies/trl_distillation.yaml")
    values = {"objective.temperature": "2.0", "optimizer.lr": "1e-5", "seed": "3", "training.epochs": "1"}
    words = study.trainer.fill(values.__getitem__)
    assert Path(words[1]).samefile("studies/trl_distillation.py")
    asked = trl_distillation.parser().parse_args(words[2:])
    assert (asked.temperature, asked.lr, asked.seed, asked.epochs) == (2.0, 1e-5, 3, 1.0)
    rows = [{"prompt": str(k), "answer": str(k)} for k in range(10)]
    to_train, held_out = trl_distillation.split(rows)
    assert [row["prompt"] for row in held_out] == ["0", "5"]
    assert len(to_train) == 8
    here = [f"trainer={json.dumps({'command': shlex.join([sys.executable, *study.trainer.words[1:]])})}"]
    options = [
        "--set",
        "resources.gpus_per_pack=0",
        "--set",
        *here,
        "--storage",
        f"sqlite:///{tmp_path}/a.db",
    ]
    assert run(["launch", "studies/trl_distillation.yaml", "--dry-run", *options]) == 0, (
        capsys.readouterr().err
    )
