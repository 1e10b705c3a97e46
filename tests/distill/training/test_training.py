import math
import shutil
import sys
from contextlib import suppress
from dataclasses import replace
from functools import partial

import pytest
import torch

from kdsearch.distill import train_pack, train_trials
from kdsearch.distill.data.streaming.memory import Memory
from kdsearch.distill.execution import Choice, ChoiceMemory, LoopedPack
from kdsearch.distill.models import build_model
from kdsearch.distill.randomness import stream
from kdsearch.distill.training import kept as residents
from kdsearch.distill.training import pack as pack_training
from kdsearch.distill.views import batches as views
from kdsearch.errors import RequestError, RunError, SpecError
from kdsearch.spec import TrainingSpec
from kdsearch.spec.catalogue import OBJECTIVES
from kdsearch.spec.sections import Objective
from kdsearch.trial import Trial

SPEC = TrainingSpec.model_validate(
    {
        "dataset": {"name": "digits", "train_size": 80, "validation_size": 50},
        "augment": {"crop_padding": 1},
        "student": {"arch": "mlp_16"},
        "teacher": {"arch": "mlp_32", "finetune": {"epochs": 3}},
        "training": {"epochs": 4, "batch_size": 32},
    }
)


def a_member(number, seed, values):
    return {"number": number, "seed": seed, **values}


MEMBERS = [
    a_member(7, 0, {"objective.temperature": 1.0}),
    a_member(3, 1, {"objective.temperature": 4.0, "optimizer.lr": 0.05}),
    a_member(5, 2, {"objective.temperature": 20.0, "objective.alpha": 0.5}),
]
BROKEN = a_member(9, 3, {"optimizer.lr": 1e30, "optimizer.momentum": 0.0})


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory):
    return tmp_path_factory.mktemp("artifacts")


@pytest.fixture(params=["looped", "fused"])
def way(request, monkeypatch):
    """Choose the executor without measuring."""
    monkeypatch.setattr(ChoiceMemory, "get", lambda *_: Choice(request.param))
    return request.param


def untimed(results):
    """Return results without how long they took, and beside how many."""
    return [replace(result, seconds=0.0, executor=None, pack_size=None) for result in results]


def assert_same(found, expected, tolerance=0.0):
    for own, other in zip(untimed(found), untimed(expected), strict=True):
        assert replace(own, metrics={}) == replace(other, metrics={})
        assert own.metrics == pytest.approx(other.metrics, rel=tolerance, abs=tolerance)


class Reports:
    """A report that remembers what it was told.

    It stops members, and fails when asked to.
    """

    def __init__(self, stop=None, fail_at=None):
        self.told = []
        self._stop = stop or {}
        self._fail_at = fail_at

    def __call__(self, epoch, metrics):
        if epoch == self._fail_at:
            raise KeyboardInterrupt
        self.told.append((epoch, sorted(metrics)))
        return self._stop.get(epoch, ())


def test_a_pack_learns_and_says_how_it_ended(artifacts):
    spec = SPEC.with_values({"training.epochs": 12, "dataset.train_size": 400})
    reports = Reports()
    results = train_pack(spec, MEMBERS, artifacts=artifacts, report=reports)
    assert [result.number for result in results] == [7, 3, 5]
    assert reports.told == [(epoch, [3, 5, 7]) for epoch in range(1, 13)]
    for result in results:
        assert (result.state, result.epochs, result.reason) == ("complete", 12, None)
        assert result.metrics["val_accuracy"] > 0.5
        assert result.metrics["test_accuracy"] > 0.5
        assert 0 < result.metrics["student_entropy"] < math.log(10)
        assert result.metrics["teacher_agreement"] > 0.5
        assert result.seconds > 0
    entropies = [result.metrics["teacher_entropy"] for result in results]
    assert entropies == sorted(entropies)


def test_a_student_learns_the_same_alone_and_in_a_pack(artifacts, way):
    together = train_pack(SPEC, [*MEMBERS, BROKEN], artifacts=artifacts)
    alone = [train_pack(SPEC, [member], artifacts=artifacts)[0] for member in MEMBERS]
    assert_same(together[:3], alone, 0.0 if way == "looped" else 1e-5)


def test_trials_are_trained_as_the_members_of_the_same_values(artifacts):
    points = [{k: v for k, v in own.items() if k not in ("number", "seed")} for own in MEMBERS[:2]]
    resolved = [SPEC.with_values(point) for point in points]
    trials = [Trial(7, 0, {}, points[0], resolved[0]), Trial(3, 1, {}, points[1], resolved[1])]
    found = train_trials(trials, artifacts=artifacts)
    assert_same(found, train_pack(SPEC, MEMBERS[:2], artifacts=artifacts))


def test_members_that_differ_in_shape_are_trained_group_after_group(artifacts):
    members = [
        a_member(0, 0, {"training.batch_size": 16}),
        a_member(1, 0, {"training.epochs": 2}),
        a_member(2, 0, {"training.batch_size": 16, "objective.temperature": 9.0}),
    ]
    reports = Reports()
    results = train_pack(SPEC, members, artifacts=artifacts, report=reports)
    assert [result.epochs for result in results] == [4, 2, 4]
    assert reports.told == [(1, [0, 2]), (2, [0, 2]), (3, [0, 2]), (4, [0, 2]), (1, [1]), (2, [1])]


def test_a_diverged_member_is_reported_alone(artifacts, way):
    reports = Reports()
    results = train_pack(SPEC, [MEMBERS[0], BROKEN], artifacts=artifacts, report=reports)
    assert (results[1].state, results[1].reason, results[1].epochs) == ("failed", "diverged", 1)
    assert all(map(math.isfinite, results[1].metrics.values()))
    assert results[0].state == "complete"
    assert reports.told == [(epoch, [7]) for epoch in range(1, 5)]


def test_a_pack_that_diverges_whole_ends(artifacts):
    reports = Reports()
    assert train_pack(SPEC, [BROKEN], artifacts=artifacts, report=reports)[0].state == "failed"
    assert reports.told == []


def test_a_stopped_member_leaves_the_others_on_their_curves(artifacts, way):
    reports = Reports(stop={2: [3]})
    results = train_pack(SPEC, MEMBERS, artifacts=artifacts, report=reports)
    assert reports.told == [(1, [3, 5, 7]), (2, [3, 5, 7]), (3, [5, 7]), (4, [5, 7])]
    stopped = results[1]
    assert (stopped.state, stopped.epochs, stopped.reason) == ("pruned", 2, "stopped after epoch 2")
    assert set(stopped.metrics) == {"val_accuracy", "val_loss", "train_loss"}
    unstopped = train_pack(SPEC, MEMBERS, artifacts=artifacts)
    assert_same([results[0], results[2]], [unstopped[0], unstopped[2]], 0.0 if way == "looped" else 1e-5)


def test_a_member_stopped_after_the_last_epoch_is_complete(artifacts):
    results = train_pack(SPEC, MEMBERS[:1], artifacts=artifacts, report=Reports(stop={4: [7]}))
    assert results[0].state == "complete"


def test_without_distillation_there_is_no_teacher(tmp_path):
    spec = SPEC.with_values({"objective.alpha": 0.0})
    results = train_pack(spec, [{"seed": 0}], artifacts=tmp_path)
    assert not (tmp_path / "teachers").exists()
    assert "teacher_entropy" not in results[0].metrics
    assert "student_entropy" in results[0].metrics


def test_a_member_without_distillation_has_the_same_result_beside_others(artifacts):
    undistilled = a_member(1, 4, {"objective.alpha": 0.0})
    alone = train_pack(SPEC, [undistilled], artifacts=artifacts, way="looped")
    beside = train_pack(SPEC, [undistilled, MEMBERS[0]], artifacts=artifacts, way="looped")
    assert_same(beside[:1], alone, 1e-6)


RESUMED = {
    "kd": {},
    "ctkd": {"objective.name": "ctkd"},
    "moving": {"objective.temperature_ratio": 9.0},
    "adamw": {"optimizer.name": "adamw", "optimizer.lr": 0.01},
    "convnet": {"student.arch": "convnet_4", "training.epochs": 3},
}


@pytest.mark.parametrize("changes", RESUMED.values(), ids=RESUMED)
def test_a_resumed_curve_is_the_same_curve(artifacts, tmp_path, way, changes):
    spec = SPEC.with_values(changes)
    members = [a_member(m["number"], m["seed"], {"objective.temperature": 3.0}) for m in MEMBERS]
    whole = train_pack(spec, members, artifacts=artifacts, report=Reports(stop={1: [3]}))
    interrupted, resumed = Reports(stop={1: [3]}, fail_at=3), Reports()
    folder = tmp_path / "checkpoint"
    with pytest.raises(KeyboardInterrupt):
        train_pack(spec, members, artifacts=artifacts, report=interrupted, checkpoint=folder)
    again = [{**own, "number": own["number"] + 10} for own in members]
    found = train_pack(spec, again, artifacts=artifacts, report=resumed, checkpoint=folder)
    rest = [(epoch, [15, 17]) for epoch in range(2, spec.training.epochs + 1)]
    assert resumed.told == [(1, [13, 15, 17]), *rest]
    assert_same([replace(result, number=result.number - 10) for result in found], whole)
    assert not list(folder.iterdir())


def test_a_resumed_call_does_not_train_ended_groups_again(artifacts, tmp_path):
    members = [a_member(0, 0, {"training.epochs": 2}), a_member(1, 1, {})]
    reports = Reports(fail_at=3)
    with pytest.raises(KeyboardInterrupt):
        train_pack(SPEC, members, artifacts=artifacts, report=reports, checkpoint=tmp_path)
    resumed = Reports()
    found = train_pack(SPEC, members, artifacts=artifacts, report=resumed, checkpoint=tmp_path)
    assert resumed.told == [(1, [0]), (2, [0]), *((epoch, [1]) for epoch in range(1, 5))]
    assert_same(found, train_pack(SPEC, members, artifacts=artifacts))


def test_a_checkpoint_is_trained_from_and_not_only_read(artifacts, tmp_path, monkeypatch):
    trained = []
    train_epoch = pack_training.PackTraining.train_epoch
    monkeypatch.setattr(
        pack_training.PackTraining,
        "train_epoch",
        lambda self, epoch: trained.append(epoch) or train_epoch(self, epoch),
    )
    for fail_at in (3, None):
        with suppress(KeyboardInterrupt):
            reports = Reports(fail_at=fail_at)
            train_pack(SPEC, MEMBERS, artifacts=artifacts, report=reports, checkpoint=tmp_path)
    assert trained == [1, 2, 3, 3, 4]


def test_short_packs_leave_no_checkpoint(artifacts, tmp_path):
    folder = tmp_path / "checkpoint"
    with pytest.raises(KeyboardInterrupt):
        train_pack(
            SPEC,
            MEMBERS,
            artifacts=artifacts,
            report=Reports(fail_at=4),
            checkpoint=folder,
            checkpoint_interval_s=60,
        )
    assert not folder.exists()


def test_training_goes_on_where_nothing_can_be_written(artifacts, tmp_path, small_files, caplog):
    expected = train_pack(SPEC, MEMBERS, artifacts=artifacts, way="looped")
    shutil.copytree(artifacts / "teachers", tmp_path / "teachers")
    with small_files(100):
        found = train_pack(
            SPEC, MEMBERS, artifacts=tmp_path, checkpoint=tmp_path / "checkpoint", way="looped"
        )
    assert_same(found, expected)
    assert "No checkpoint in" in caplog.text
    assert "Soft targets can't be stored in" in caplog.text
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.relative_to(tmp_path).parts[0] for path in written} == {"teachers"}


def test_another_packs_checkpoint_is_not_read(artifacts, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train_pack(SPEC, MEMBERS, artifacts=artifacts, report=Reports(fail_at=3), checkpoint=tmp_path)
    (file,) = tmp_path.iterdir()
    for damage in (b"", b"no checkpoint"):
        file.write_bytes(damage)
        reports = Reports(fail_at=2)
        with pytest.raises(KeyboardInterrupt):
            train_pack(SPEC, MEMBERS, artifacts=artifacts, report=reports, checkpoint=tmp_path)
        assert reports.told == [(1, [3, 5, 7])]


OWN_CODE = """
import numpy as np
from torch import nn, optim
from torch.nn import functional as F
def data():
    pixels = np.random.default_rng(0).integers(0, 256, (60, 4, 4), dtype=np.uint8)
    return (pixels, np.arange(60) % 3), None
def net(num_classes, image_size):
    return nn.Sequential(nn.Flatten(), nn.Linear(image_size**2, num_classes))
def term(student, teacher, targets, temperature):
    return F.mse_loss(student / temperature, teacher / temperature)
def step(groups):
    return optim.Adagrad(groups)
def rates(steps, warmup_steps):
    return lambda step: 1.0
"""
EDITS = {
    "dataset.name": ("data", "% 3", "% 2"),
    "student.arch": ("net", "nn.Flatten()", "nn.Flatten(), nn.Tanh()"),
    "objective.name": ("term", "mse_loss", "l1_loss"),
    "optimizer.name": ("step", "Adagrad", "SGD"),
    "training.schedule": ("rates", "1.0", "0.5"),
}


@pytest.mark.parametrize("path", EDITS)
def test_a_checkpoint_of_other_data_or_code_is_not_read(tmp_path, monkeypatch, path):
    name, before, after = EDITS[path]
    module = f"own_code_{name}"
    file = tmp_path / f"{module}.py"
    monkeypatch.syspath_prepend(tmp_path)
    spec = SPEC.with_values(
        {path: f"{module}:{name}", "dataset.validation_size": 10, "dataset.train_size": 30}
    )

    def train(fail_at=None):
        sys.modules.pop(module, None)  # as in another process
        reports = Reports(fail_at=fail_at)
        with suppress(KeyboardInterrupt):
            return train_pack(
                spec, [{"seed": 0}], artifacts=tmp_path, checkpoint=tmp_path / "kept", report=reports
            )

    file.write_text(OWN_CODE)
    train(fail_at=3)
    file.write_text(OWN_CODE.replace(before, after))
    (found,) = train()
    shutil.rmtree(tmp_path / "kept")
    assert_same([found], train())


def test_a_checkpoint_beside_other_starting_weights_is_not_read(artifacts, tmp_path):
    weights = tmp_path / "net.pt"
    spec = SPEC.with_values({"student.init": {"checkpoint": str(weights)}})
    found = []
    for seed, fail_at in ((1, 3), (2, None), (2, None)):
        model = build_model("mlp_16", 10, 1, image_size=8, generator=stream(seed, "start"))
        torch.save(model.state_dict(), weights)
        with suppress(KeyboardInterrupt):
            reports = Reports(fail_at=fail_at)
            found.append(
                train_pack(
                    spec, [{"seed": 0}], artifacts=artifacts, checkpoint=tmp_path / "kept", report=reports
                )
            )
    assert_same(*found)


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED")],
)
def test_a_pack_that_does_not_fit_is_trained_in_halves(artifacts, monkeypatch, error):
    class SmallDevice(LoopedPack):
        def backward(self, images, loss, step, finish=None):
            if len(self.parameters) > 2 or (len(self.parameters) == 2 and step > 4):
                raise error
            return super().backward(images, loss, step, finish)

    expected = train_pack(SPEC, MEMBERS, artifacts=artifacts, way="looped")
    monkeypatch.setattr(ChoiceMemory, "get", lambda *_: Choice("looped"))
    monkeypatch.setattr("kdsearch.distill.execution.choice.LoopedPack", SmallDevice)
    reports = Reports()
    found = train_pack(SPEC, MEMBERS, artifacts=artifacts, report=reports)
    assert_same(found, expected, 1e-6)
    assert [result.pack_size for result in found] == [1, 1, 1]
    told = [(epoch, number) for epoch, numbers in reports.told for number in numbers]
    assert sorted(told) == [(epoch, number) for epoch in range(1, 5) for number in (3, 5, 7)]


@pytest.mark.parametrize("asked", ["looped", "fused"])
def test_students_are_trained_in_the_way_that_is_asked_for(asked, artifacts):
    results = train_pack(SPEC, MEMBERS, artifacts=artifacts, way=asked)
    assert {(result.executor, result.pack_size) for result in results} == {(asked, 3)}


def test_one_student_that_does_not_fit_is_an_error_with_advice(artifacts, monkeypatch):
    class NoDevice(LoopedPack):
        def backward(self, images, loss, step, finish=None):
            raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(ChoiceMemory, "get", lambda *_: Choice("looped"))
    monkeypatch.setattr("kdsearch.distill.execution.choice.LoopedPack", NoDevice)
    with pytest.raises(RunError, match=r"`training\.batch_size` must be small enough for cpu, got 32"):
        train_pack(SPEC, MEMBERS, artifacts=artifacts)


@pytest.mark.gpu
def test_students_on_a_gpu_are_the_same_with_and_without_graphs_and_again(artifacts):
    spec = SPEC.with_values({"training.precision": "fp32", "student.arch": "convnet_4"})
    graphed = spec.with_values({"training.cuda_graphs": True})
    first, again, replayed = (
        train_pack(own, MEMBERS, artifacts=artifacts, device="cuda", way="fused")
        for own in (spec, spec, graphed)
    )
    assert_same(first, again)
    assert_same(first, replayed, 1e-5)


@pytest.mark.parametrize(("at_once", "seed"), [(2**21, 0), (1, 17)], ids=["one chunk", "many chunks"])
def test_stored_and_live_teachers_train_the_same_student(artifacts, monkeypatch, at_once, seed):
    monkeypatch.setattr(views, "_RENDERED_AT_ONCE", at_once)
    spec = SPEC.with_values({"training.view_seed": seed, "training.order_seed": 2 * seed})
    train = partial(train_pack, spec, MEMBERS, artifacts=artifacts, way="looped")
    stored, live = train(), train(soft_target_cap_bytes=0)
    for own, other in zip(stored, live, strict=True):
        assert own.metrics["train_loss"] == pytest.approx(other.metrics["train_loss"], rel=2e-3)
        assert own.metrics["val_loss"] == pytest.approx(other.metrics["val_loss"], rel=2e-2)


def test_large_logits_on_the_host_train_the_same_student(artifacts, monkeypatch):
    train = partial(train_pack, SPEC, MEMBERS, artifacts=artifacts, way="looped")
    held = train()
    monkeypatch.setattr(residents, "_TEACHER_LOGITS", residents.LruCache(1))
    monkeypatch.setattr(residents, "are_streamed", lambda shape, device: True)
    assert [result.metrics for result in train()] == [result.metrics for result in held]


@pytest.mark.parametrize(("device", "total", "kept"), [("cuda", 64, 2), ("cuda", 4, 0.25), ("cpu", 64, 0.25)])
def test_a_share_of_a_gpu_keeps_views_and_logits(monkeypatch, device, total, kept):
    monkeypatch.setattr(residents, "memory_of", lambda _: Memory(total * 2**30, 5))
    where, limit = torch.device(device), int(kept * 2**30)
    assert residents.kept_bytes(where) == limit
    assert residents.are_streamed((limit // 4 + 1, 1), where) == (device == "cuda")
    assert not residents.are_streamed((limit // 4, 1), where)


def test_the_teacher_runs_once_for_all_packs(artifacts, tmp_path, monkeypatch):
    train_pack(SPEC, MEMBERS[:1], artifacts=tmp_path)
    monkeypatch.setattr(residents, "_TEACHER_LOGITS", residents.LruCache(1))
    calls = []
    monkeypatch.setattr(residents.TeacherLogits, "_whole_epoch", lambda *_: calls.append(1))
    train_pack(SPEC.with_values({"training.order_seed": 5}), MEMBERS[1:], artifacts=tmp_path)
    assert calls == []


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_trains_with_mixed_images(artifacts, name):
    spec = SPEC.with_values(
        {"objective.name": name, "augment.mixup": 0.4, "augment.cutmix": 1.0, "training.epochs": 1}
    )
    results = train_pack(spec, MEMBERS, artifacts=artifacts)
    assert {result.state for result in results} == {"complete"}


def test_rules_train_the_same_students_alone_and_together(artifacts, way):
    spec = SPEC.with_values({"objective.name": "entropy_rule", "training.epochs": 2})
    members = [
        {"seed": k, "number": k, "objective.options.target": target} for k, target in enumerate((0.3, 0.7))
    ]
    together = train_pack(spec, members, artifacts=artifacts)
    for member, found in zip(members, together, strict=True):
        assert_same([found], train_pack(spec, [member], artifacts=artifacts), 1e-5)
    soft, softer = (found.metrics["teacher_entropy"] / math.log(10) for found in together)
    assert (soft, softer) == pytest.approx((0.3, 0.7), abs=0.05)  # two classes that tie are never surer


@pytest.mark.parametrize("base", ["kd", "dkd", "mlkd"])
def test_logit_standardization_wraps_another_objective(artifacts, base):
    options = {"base": base, "beta": 2.0} if base == "dkd" else {"base": base}
    changes = {"objective.name": "logit_standardization", "objective.options": options}
    results = train_pack(SPEC.with_values(changes), MEMBERS[:1], artifacts=artifacts)
    assert results[0].state == "complete"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"base": "nkd"}, r"`options\.base` must be one of kd, dkd, mlkd, got 'nkd'"),
        ({"base": "kd", "beta": 1.0}, r"`options\.beta` is not an option of 'logit_standardization'"),
        ({"student_temperature": "hot"}, r"`options\.student_temperature` must be a number, got 'hot'"),
    ],
)
def test_options_that_do_not_belong_to_the_objective_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        Objective(name="logit_standardization", options=options)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop"])
def test_every_optimizer_trains_with_clipped_gradients(artifacts, name):
    spec = SPEC.with_values({"optimizer.name": name, "optimizer.lr": 0.01, "training.clip_norm": 1.0})
    results = train_pack(
        spec, [MEMBERS[0], a_member(8, 0, {"training.clip_norm": 1e-9})], artifacts=artifacts
    )
    assert results[0].metrics["train_loss"] != results[1].metrics["train_loss"]


@pytest.mark.parametrize("path", ["training.view_seed", "training.order_seed", "dataset.split_seed"])
def test_each_seed_of_the_spec_changes_the_curve_and_nothing_else_does(artifacts, path):
    first, again, other = (
        train_pack(SPEC.with_values({path: seed}), MEMBERS[:1], artifacts=artifacts)[0] for seed in (0, 0, 1)
    )
    assert_same([first], [again])
    assert first.metrics["train_loss"] != other.metrics["train_loss"]


class Lookahead:
    """Draws weights back to slow ones, which it keeps itself and its state dict leaves out."""

    def __init__(self, groups):
        self._fast = torch.optim.SGD(groups, momentum=0.9)
        self.param_groups, self.state = self._fast.param_groups, self._fast.state
        self._slow = [[p.detach().clone() for p in group["params"]] for group in self.param_groups]
        self._n_steps = 0

    def zero_grad(self):
        self._fast.zero_grad()

    @torch.no_grad()
    def step(self):
        self._fast.step()
        self._n_steps += 1
        for group, slow in zip(self.param_groups, self._slow, strict=False):
            for parameter, kept in zip(group["params"], slow, strict=True):
                if self._n_steps % 2 == 0:
                    parameter.copy_(kept.add_(0.5 * (parameter - kept)))

    def state_dict(self):
        return self._fast.state_dict()

    def load_state_dict(self, state):
        self._fast.load_state_dict(state)


@pytest.mark.parametrize("fail_at", [None, 3])
def test_an_optimizer_that_keeps_something_itself_trains_as_alone(artifacts, tmp_path, fail_at):
    spec = SPEC.with_values({"optimizer.name": f"{__name__}:Lookahead", "optimizer.lr": 0.02})
    (alone,) = train_pack(spec, MEMBERS[:1], artifacts=artifacts, way="looped")
    if fail_at is not None:
        with suppress(KeyboardInterrupt):
            interrupted = Reports(stop={1: [3]}, fail_at=fail_at)
            train_pack(
                spec,
                MEMBERS[1::-1],
                artifacts=artifacts,
                report=interrupted,
                checkpoint=tmp_path,
                way="looped",
            )
    found = train_pack(
        spec, MEMBERS[1::-1], artifacts=artifacts, report=Reports(stop={1: [3]}), checkpoint=tmp_path
    )
    assert_same(found[1:], [alone], 1e-5)
    with pytest.raises(RequestError, match=r"`way` must not be fused for .*:Lookahead'"):
        train_pack(spec, MEMBERS[:2], artifacts=artifacts, way="fused")


def test_a_measured_choice_is_remembered(tmp_path, monkeypatch):
    spec = SPEC.with_values({"objective.alpha": 0.0, "training.epochs": 1})
    train_pack(spec, MEMBERS, artifacts=tmp_path)
    assert (tmp_path / "executors.json").is_file()
    monkeypatch.setattr(pack_training, "measured_choice", None)
    train_pack(spec, MEMBERS, artifacts=tmp_path)


@pytest.mark.parametrize(
    ("members", "error", "message"),
    [
        ([], RequestError, "`members` must not be empty"),
        ([a_member(1, 0, {}), a_member(1, 1, {})], RequestError, "`members` must have distinct numbers"),
        ([{"optimizer.lr": -1.0}], SpecError, r"`optimizer\.lr` must be greater than 0"),
        ([{"optimizer.learning_rate": 1.0}], SpecError, r"`optimizer\.learning_rate` is not a known key"),
    ],
)
def test_mistakes_are_named(tmp_path, members, error, message):
    with pytest.raises(error, match=message):
        train_pack(SPEC, members, artifacts=tmp_path)
    assert not list(tmp_path.iterdir())
