import json
import math
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from kdsearch.bench.__main__ import bench
from kdsearch.bench.engine import turns
from kdsearch.bench.engine.cases import CASES, GPU_CASES, Case, cifar_shaped
from kdsearch.bench.engine.command import failure_line, row_line, rows_of
from kdsearch.bench.engine.contenders import Contender, Entry, PackRunner
from kdsearch.bench.engine.images import PATTERNED, patterned
from kdsearch.bench.engine.memory import member_bytes, peak_bytes
from kdsearch.bench.engine.plain_loop import PlainLoop
from kdsearch.bench.engine.turns import Failure, Measured, interleaved, one_by_one
from kdsearch.distill.data.dataset import load_dataset
from kdsearch.distill.models import build_model
from kdsearch.distill.training.pack import PackTraining
from kdsearch.spec.catalogue import problem_with_architecture
from kdsearch.spec.sections import Dataset

TINY = Case("mlp", "mlp_8", "mlp_8", "digits", 8, 256)
CPU = torch.device("cpu")


class Idle:
    def __init__(self):
        self.epochs = 0

    def run_epoch(self):
        self.epochs += 1


def test_the_command_measures_every_way(monkeypatch, tmp_path):
    monkeypatch.setattr(turns, "_TURN_S", 0.01)
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
        Measured("plain", 1, None, [8.0, 10.0, 9.0], [1.0, 1.0, 1.0]),
        Measured("limit", 1, None, [3.0], [1.0]),
        Measured("looped", 4, None, [4.5], [1.0]),
    ]
    rows = rows_of(TINY, measured, {}, on_gpu=False)
    assert [row.speedup for row in rows] == [1.0, 3.0, 2.0]
    assert [row.of_limit for row in rows] == [3.0, 1.0, 1.5]
    assert rows[0].cpu_us == pytest.approx(9.0 / 256 * 1e6)


def test_the_first_epoch_does_not_count(monkeypatch):
    monkeypatch.setattr(turns, "_TURN_S", 1e-9)
    runners = [Idle(), Idle()]
    contenders = [Contender(str(k), 1, runner) for k, runner in enumerate(runners)]
    measured = interleaved(contenders, 3, CPU)
    assert [len(own.cpu_s) for own in measured] == [3, 3]
    assert [runner.epochs for runner in runners] == [4, 4]


def test_a_long_case_has_fewer_rounds_but_three(monkeypatch):
    monkeypatch.setattr(turns, "_timed", lambda *_: (1.0, 1.0))
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


def test_measured_one_by_one_a_way_that_fails_leaves_the_others(monkeypatch):
    monkeypatch.setattr(turns, "_TURN_S", 1e-9)
    idle = Idle()

    def full():
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB.")

    entries = [Entry("streams", 8, full), Entry("plain", 1, lambda: idle)]
    measured, failures = one_by_one(entries, 3, CPU)
    reason = "OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB."
    assert failures == [Failure("streams", 8, reason)]
    assert [(own.name, len(own.wall_s)) for own in measured] == [("plain", 3)]
    assert idle.epochs == 4
    assert failure_line(TINY, failures[0]).endswith(f"streams                        8 failed: {reason}")


def test_rows_without_the_plain_loop_are_relative_to_nothing():
    (row,) = rows_of(TINY, [Measured("looped", 4, "looped", [4.5], [1.0])], {}, on_gpu=True)
    assert (row.speedup, row.of_limit, row.of_best) == (None, None, 1.0)
    assert row.wall_us == pytest.approx(1.0 / 256 * 1e6)
    assert row_line(row).split() == ["mlp", "looped", "4", "17578.1", "3906.2", "1.00", "(measured", "once)"]


def test_a_machine_without_a_gpu_refuses_in_one_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = CliRunner().invoke(bench, ["engine", "--device", "cuda"])
    assert result.exit_code == 1
    assert "torch finds no GPU" in result.output
    assert len(result.output.strip().splitlines()) == 1


def test_a_hopeless_pack_is_measured_once(monkeypatch, tmp_path):
    packs = [Contender(f"way {k}", 1, PackRunner(TINY, 1, tmp_path, CPU, "looped")) for k in range(2)]
    seconds = iter([(1.0, 1.0), (9.0, 9.0), (1.0, 1.0)])
    monkeypatch.setattr(turns, "_timed", lambda *_: next(seconds))
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
    on_gpu = {name: case.spec() for name, case in GPU_CASES.items()}
    assert {spec.student.arch for spec in on_gpu.values()} >= {"resnet8x4", "resnet20", "vit_32_2"}
    assert all(problem_with_architecture(spec.teacher.arch) is None for spec in on_gpu.values())
    assert {spec.training.batch_size for spec in on_gpu.values()} == {64, 128}
    (images, labels), test = cifar_shaped()
    assert images.shape == (len(labels), 32, 32, 3)
    assert test is None


def test_made_up_images_are_as_many_as_asked_for_and_can_be_told_apart():
    dataset = Dataset(name=PATTERNED, image_size=8, train_size=60, validation_size=20)
    (images, labels), (test_images, test_labels) = patterned(dataset)
    assert images.shape == (80, 8, 8, 3)
    assert sorted(set(labels)) == list(range(10))
    means = np.stack([images[labels == label].mean(0) for label in range(10)])
    nearest = [int(((means - image) ** 2).sum((1, 2, 3)).argmin()) for image in test_images]
    assert nearest == list(test_labels)
    large = patterned(Dataset(name=PATTERNED, image_size=8, train_size=900, validation_size=100))
    assert len(set(large[0][1])) == 100


def test_the_tiny_vision_transformer_has_its_size():
    model = build_model(GPU_CASES["vit_tiny-224"].student, 100, 3, image_size=224)
    assert round(sum(own.numel() for own in model.parameters()) / 1e5) == 55  # DeiT's 57, with 1,000 classes
