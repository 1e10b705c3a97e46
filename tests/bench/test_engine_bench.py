import json
import math
from contextlib import contextmanager

import pytest
import torch
from click.testing import CliRunner

from kdsearch.bench.__main__ import bench
from kdsearch.bench.engine import command as engine
from kdsearch.bench.engine.cases import CASES, Case, cifar_shaped
from kdsearch.bench.engine.command import Measured, interleaved, rows_of
from kdsearch.bench.engine.contenders import Contender, PackRunner
from kdsearch.bench.engine.memory import member_bytes, peak_bytes
from kdsearch.bench.engine.plain_loop import PlainLoop
from kdsearch.distill.data.dataset import load_dataset
from kdsearch.distill.models import build_model
from kdsearch.distill.training.pack import PackTraining

TINY = Case("mlp", "mlp_8", "mlp_8", "digits", 8, 256)
CPU = torch.device("cpu")


class Idle:
    def __init__(self):
        self.epochs = 0

    def run_epoch(self):
        self.epochs += 1


def test_the_command_measures_every_way(monkeypatch, tmp_path):
    monkeypatch.setattr(engine, "_TURN_S", 0.01)
    monkeypatch.setitem(CASES, "mlp", TINY)
    out = tmp_path / "engine.json"
    options = ["--case", "mlp", "--pack", "1", "--pack", "2", "--rounds", "2", "--out", str(out)]
    threads = str(torch.get_num_threads())
    result = CliRunner().invoke(bench, ["engine", *options, "--threads", threads])
    assert result.exit_code == 0, result.output
    document = json.loads(out.read_text())
    ways = [(row["way"].split(":")[0], row["size"]) for row in document["rows"]]
    limits = [("limit", 1), ("limit_channels_last", 1)]
    assert ways == [
        ("plain", 1),
        *limits,
        ("views", 1),
        ("looped", 1),
        ("chosen", 1),
        ("looped", 2),
        ("fused", 2),
        ("chosen", 2),
    ]
    assert document["rows"][0]["speedup"] == 1.0
    assert document["rows"][0]["of_limit"] > 1
    packs = document["rows"][4:]
    assert all(row["of_best"] >= 1 for row in packs if not row["way"].startswith("chosen"))
    assert all(row["member_bytes"] > 0 for row in packs)
    assert len(result.output.strip().splitlines()) == 2 + len(ways)


def test_rows_are_relative_to_the_plain_loop_and_the_limit():
    measured = [
        Measured(Contender("plain", 1, Idle()), [8.0, 10.0, 9.0], [1.0, 1.0, 1.0]),
        Measured(Contender("limit", 1, Idle()), [3.0], [1.0]),
        Measured(Contender("looped", 4, Idle()), [4.5], [1.0]),
    ]
    rows = rows_of(TINY, measured, {}, on_gpu=False)
    assert [row.speedup for row in rows] == [1.0, 3.0, 2.0]
    assert [row.of_limit for row in rows] == [3.0, 1.0, 1.5]
    assert rows[0].cpu_us == pytest.approx(9.0 / 256 * 1e6)


def test_the_first_epoch_does_not_count(monkeypatch):
    monkeypatch.setattr(engine, "_TURN_S", 1e-9)
    runners = [Idle(), Idle()]
    contenders = [Contender(str(k), 1, runner) for k, runner in enumerate(runners)]
    measured = interleaved(contenders, 3, CPU)
    assert [len(own.cpu_s) for own in measured] == [3, 3]
    assert [runner.epochs for runner in runners] == [4, 4]


def test_a_long_case_has_fewer_rounds_but_three(monkeypatch):
    monkeypatch.setattr(engine, "_timed", lambda *_: (1.0, 1.0))
    contenders = [Contender("plain", 1, Idle()), Contender("limit", 4, Idle())]  # 5 s in a round
    counts = [len(interleaved(contenders, 9, CPU, seconds)[0].cpu_s) for seconds in (math.inf, 30.0, 1.0)]
    assert counts == [9, 6, 3]


class Holding(Idle):
    """Holds 4,000 bytes, and 8,000 more for a while in an epoch."""

    def __init__(self):
        super().__init__()
        self.held = torch.zeros(1000)

    def run_epoch(self):
        for _ in range(3):
            (self.held + 1).mul_(2).view(2, 500).T.exp().sum()


def test_peak_memory_is_what_tensors_held_at_once():
    foreign = torch.zeros(5000)
    assert 12_000 <= peak_bytes(Holding, CPU) < 12_100
    assert foreign.sum() == 0


def test_a_member_takes_its_weights_gradients_and_momentum(tmp_path):
    n_parameters = (64 + 1) * 8 + (8 + 1) * 10
    found = member_bytes(TINY, "looped", tmp_path, CPU)
    activations = 128 * (8 + 10) * 4
    assert 3 * 4 * n_parameters < found < 3 * 4 * n_parameters + 10 * activations


def test_a_hopeless_pack_is_measured_once(monkeypatch, tmp_path):
    packs = [Contender(f"way {k}", 1, PackRunner(TINY, 1, tmp_path, CPU, "looped")) for k in range(2)]
    seconds = iter([(1.0, 1.0), (9.0, 9.0), (1.0, 1.0)])
    monkeypatch.setattr(engine, "_timed", lambda *_: next(seconds))
    assert [own.cpu_s for own in interleaved(packs, 1, CPU)] == [[1.0], [9.0]]


def test_a_pack_is_timed_under_the_settings_that_it_is_trained_under(monkeypatch, tmp_path):
    current, epochs = [], []

    @contextmanager
    def on_device(device):
        current.append(device)
        yield
        current.pop()

    monkeypatch.setattr("kdsearch.bench.engine.contenders.on_device", on_device)
    monkeypatch.setattr(PackTraining, "train_epoch", lambda *_: epochs.append(list(current)))
    PackRunner(TINY, 1, tmp_path, CPU, "looped").run_epoch()
    assert epochs == [[CPU]]


def test_the_plain_loop_trains_its_student():
    spec = TINY.spec()
    data = load_dataset(spec.dataset)
    student, teacher = (build_model("mlp_8", 10, 1, image_size=8) for _ in range(2))
    before = [parameter.clone() for parameter in student.parameters()]
    PlainLoop(spec, data, student, teacher, CPU).run_epoch()
    assert not any(torch.equal(a, b) for a, b in zip(before, student.parameters(), strict=True))


def test_every_case_is_a_valid_spec():
    assert {case.spec().student.arch for case in CASES.values()} >= {"mlp_64_32", "resnet8", "vit_32_2"}
    (images, labels), test = cifar_shaped()
    assert images.shape == (len(labels), 32, 32, 3)
    assert test is None
