"""Steps that are replayed from a recording are the same steps: a tape stands for CUDA graphs."""

import logging
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from kdsearch.distill import train_pack
from kdsearch.distill.execution import (
    PackPlan,
    Precision,
    Replayed,
    key_dropout,
    measured_choice,
    way_problem,
)
from kdsearch.distill.models import build_model
from kdsearch.distill.randomness import hash_key
from kdsearch.distill.teachers.supervised import SupervisedTraining
from kdsearch.distill.training.kept import split_views_of
from kdsearch.errors import RequestError
from kdsearch.spec import TrainingSpec
from kdsearch.spec.sections import Finetune
from tests.tape import Tape

CPU = torch.device("cpu")
SPEC = TrainingSpec.model_validate(
    {
        "dataset": {"name": "digits", "train_size": 80, "validation_size": 40},
        "augment": {"crop_padding": 1},
        "student": {"arch": "mlp_8"},
        "teacher": {"arch": "mlp_16", "finetune": {"epochs": 2}},
        "optimizer": {"lr": 0.05},
        "training": {"epochs": 5, "batch_size": 24},  # three batches of 24 and one of 8
    }
)
MEMBERS = [
    {"number": number, "seed": number, "objective.temperature": at, "optimizer.lr": lr}
    for number, (at, lr) in enumerate([(1.0, 0.05), (4.0, 0.02), (20.0, 0.05)])
]
CASES = {
    **{f"optimizer {name}": {"optimizer.name": name} for name in ("sgd", "adam", "adamw", "rmsprop", "lion")},
    **{
        f"objective {name}": {"objective.name": name}
        for name in (
            *("dkd", "dist", "nkd", "mlkd", "ctkd", "mse", "logit_standardization"),
            *("entropy_rule", "max_logit_rule"),
        )
    },
    "reverse": {"objective.options": {"divergence": "reverse"}},
    "a temperature that moves": {"objective.temperature_ratio": 4.0},
    "labels alone": {"objective.alpha": 0.0},
    **{f"schedule {name}": {"training.schedule": name} for name in ("constant", "step", "one_cycle")},
    "warm-up": {"training.warmup_epochs": 2},
    "clipping": {"training.clip_norm": 0.1},
    "mixup": {"augment.mixup": 0.5, "augment.cutmix": 1.0},
    "convolutions": {"student.arch": "convnet_4"},
    "dropout": {"student.arch": f"{__name__}:Dropping"},
}
LAYERED = {"convolutions"}  # streams lay out images as the loop with channels last does


class Dropping(nn.Module):
    """A network that drops at two places, one of them twice."""

    def __init__(self, num_classes, in_channels, image_size):
        super().__init__()
        self.body = nn.Linear(in_channels * image_size**2, 12)
        self.head = nn.Linear(12, num_classes)
        self.first, self.second = nn.Dropout(0.2), nn.Dropout(0.3)

    def forward(self, images):
        hidden = self.first(self.body(self.first(images.flatten(1))).relu())
        return self.head(self.second(hidden))


class Asking(nn.Module):
    """A network that reads a value on its way.

    No recording allows that.
    """

    def __init__(self, num_classes, in_channels, image_size):
        super().__init__()
        self.body = nn.Linear(in_channels * image_size**2, num_classes)

    def forward(self, images):
        return self.body(images.flatten(1)) if float(images.detach().sum()) < 1e9 else images


class Counting(nn.Module):
    """A network that counts in Python.

    A recording would repeat the count as it was.
    """

    def __init__(self, num_classes, in_channels, image_size):
        super().__init__()
        self.body = nn.Linear(in_channels * image_size**2, num_classes)
        self.calls = 0

    def forward(self, images):
        self.calls += 1
        return self.body(images.flatten(1)) / self.calls


def own_term(student, teacher, targets, temperature):
    return ((student - teacher) / temperature).square().mean()


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    return tmp_path_factory.mktemp("artifacts")


@pytest.fixture
def tape(monkeypatch):
    """Let a CPU record."""
    found = Tape()
    monkeypatch.setattr("kdsearch.distill.execution.choice.recorder_on", lambda _: found)
    return found


def trained(spec, artifacts, way, **more):
    """Return each member's result, and its losses by epoch."""
    curves = {member["number"]: [] for member in MEMBERS}

    def report(epoch, metrics):
        for number, own in metrics.items():
            curves[number].append(own)
        return more.get("stop", {}).get(epoch, ())

    rest = {name: value for name, value in more.items() if name != "stop"}
    results = train_pack(spec, MEMBERS, artifacts=artifacts, device="cpu", way=way, report=report, **rest)
    return [(result.state, result.epochs, result.metrics) for result in results], curves


@pytest.mark.parametrize("case", CASES)
def test_students_of_recorded_steps_are_those_of_plain_ones(artifacts, tape, case):
    spec = SPEC.with_values(CASES[case])
    recorded = trained(spec, artifacts, "streams")
    assert tape.n_recorded >= 2  # full batches and last ones
    assert tape.n_replayed >= 8
    plain = spec.with_values({"training.cuda_graphs": False})
    assert trained(plain, artifacts, "streams") == recorded
    looped = trained(plain, artifacts, "looped_channels_last" if case in LAYERED else "looped")
    for own, other in zip(recorded[0], looped[0], strict=True):
        assert own[2] == pytest.approx(other[2], rel=2e-3, abs=2e-3)


@pytest.mark.parametrize("case", ["optimizer sgd", "optimizer adam", "objective ctkd", "dropout"])
def test_fused_steps_are_recorded_as_well(artifacts, tape, case):
    spec = SPEC.with_values(CASES[case])
    recorded = trained(spec, artifacts, "fused")
    assert tape.n_replayed >= 8
    assert trained(spec.with_values({"training.cuda_graphs": False}), artifacts, "fused") == recorded


def test_members_that_leave_disturb_nobody(artifacts, tape):
    spec = SPEC.with_values({"training.epochs": 8})
    recorded = trained(spec, artifacts, "streams", stop={3: [1]})
    before = tape.n_recorded
    assert before >= 4  # anew for those that stay
    plain = spec.with_values({"training.cuda_graphs": False})
    assert trained(plain, artifacts, "streams", stop={3: [1]}) == recorded
    assert recorded[0][1][:2] == ("pruned", 3)


def test_a_recorded_training_goes_on_from_a_checkpoint(artifacts, tape, tmp_path):
    whole = trained(SPEC, artifacts, "streams")

    class BrokenError(Exception):
        pass

    def report(epoch, metrics):
        if epoch == 3:
            raise BrokenError
        return ()

    for name in ("sgd", "adamw"):
        spec = SPEC.with_values({"optimizer.name": name})
        whole = trained(spec, artifacts, "streams")
        place = tmp_path / name
        with pytest.raises(BrokenError):
            train_pack(
                spec,
                MEMBERS,
                artifacts=artifacts,
                way="streams",
                report=report,
                checkpoint=place,
                device="cpu",
            )
        assert trained(spec, artifacts, "streams", checkpoint=place) == whole


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"student.arch": f"{__name__}:Asking"}, "waits for a value"),
        ({"objective.name": f"{__name__}:own_term"}, "may do anything"),
        ({"optimizer.name": f"{__name__}:own_optimizer"}, "may do anything"),
    ],
)
def test_what_cannot_be_recorded_is_told_in_a_line_and_trained_all_the_same(
    artifacts, tape, caplog, values, told
):
    spec = SPEC.with_values(values)
    with caplog.at_level(logging.WARNING):
        found = trained(spec, artifacts, "streams")
    lines = [record.getMessage() for record in caplog.records if "CUDA graph" in record.getMessage()]
    assert len(lines) == 1
    assert told in lines[0]
    assert trained(spec.with_values({"training.cuda_graphs": False}), artifacts, "streams") == found
    with pytest.raises(RequestError, match=r"`training\.cuda_graphs` must be auto or false"):
        trained(spec.with_values({"training.cuda_graphs": True}), artifacts, "streams")


def own_optimizer(groups):
    return torch.optim.SGD(groups)


def test_a_foreign_network_that_a_recording_would_change_is_looped(artifacts, tape):
    """In the first steps its plain and streamed twins count alike.

    Only a replay shows the difference.
    """
    model = Counting(10, 1, 8)
    images = torch.randn(4, 1, 8, 8)
    plan = PackPlan(Precision(CPU), seeds=(1, 2))
    assert "comes out otherwise" in way_problem("streams", model, images, plan)
    unrecorded = PackPlan(Precision(CPU), seeds=(1, 2), recorded=False)
    assert way_problem("streams", model, images, unrecorded) is None
    with pytest.raises(RequestError, match="Take 'looped'"):
        trained(SPEC.with_values({"student.arch": f"{__name__}:Counting"}), artifacts, "streams")


@pytest.mark.parametrize("arch", ["mlp_8", "vgg8"])
def test_a_teachers_recorded_training_is_its_plain_one(monkeypatch, arch):
    views = split_views_of(SPEC.with_values({"dataset.train_size": 60}), CPU).views
    states = []
    for recorder in (None, Tape()):
        monkeypatch.setattr("kdsearch.distill.execution.choice.recorder_on", lambda _, own=recorder: own)
        generator = torch.Generator().manual_seed(0)
        model = build_model(arch, 10, 1, image_size=8, generator=generator)
        finetune = Finetune(epochs=4, head_epochs=3, batch_size=16, lr=0.02, schedule="cosine")
        training = SupervisedTraining(model, views, finetune, seed=1, layout=torch.contiguous_format)
        training.train_head()
        training.train()
        states.append(model.state_dict())
        assert recorder is None or recorder.n_replayed >= 6
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name


def test_forms_that_come_seldom_are_never_recorded(tape):
    doubled = Replayed(lambda values: values * 2, tape)
    for n in (3, 3, 3, 4, 3, 3):
        assert torch.equal(doubled(torch.ones(n)), torch.full((n,), 2.0))
    assert (tape.n_recorded, tape.n_replayed) == (1, 1)
    doubled.forget()
    doubled(torch.ones(3))
    assert tape.n_recorded == 1


class BrokenOff(Tape):
    """A recorder whose end adds an error of its own.

    CUDA's does so where something else went wrong.
    """

    def record(self, call):
        try:
            return super().record(call)
        except Exception:
            raise RuntimeError("CUDA error: capturing stream has unjoined work")  # noqa: B904 - as torch does


def test_what_went_wrong_first_is_told_and_memory_that_ran_out_stays_that():
    def asks(values):
        return values * float(values.detach().sum())

    asking = Replayed(asks, BrokenOff())
    for _ in range(6):
        assert torch.equal(asking(torch.ones(2)), torch.full((2,), 2.0))
    assert asking.problem == "RuntimeError: aten::_local_scalar_dense waits for a value"
    calls = []

    def outgrows(values):
        calls.append(values)
        if len(calls) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return values

    growing = Replayed(outgrows, BrokenOff())
    for _ in range(3):
        growing(torch.ones(2))
    with pytest.raises(torch.OutOfMemoryError):
        growing(torch.ones(2))


class OnAGpu:
    """Images that say that they lie on a GPU."""

    device = torch.device("cuda")

    def __getitem__(self, _):
        return self


@pytest.mark.parametrize(
    ("arch", "k", "seconds", "expected"),
    [
        ("convnet_4", 2, None, "streams"),  # by rule: nothing is measured
        ("mlp_8", 1, {"streams": 1.0, "looped": 3.0}, "streams"),
        ("mlp_8", 2, {"streams": 1.0, "fused": 0.5, "looped": 3.0}, "fused"),
        ("mlp_8", 2, {"streams": 1.0, "fused": 0.99, "looped": 3.0}, "streams"),  # no clear gain
        ("mlp_8", 2, {"fused": 2.0, "looped": 1.0}, "looped"),  # streams did not fit
    ],
)
def test_on_a_gpu_convolutions_go_on_streams_by_rule_and_others_are_measured(
    monkeypatch, arch, k, seconds, expected
):
    def clock(ways, *_):
        assert list(ways) == (["streams", "fused", "looped"] if k > 1 else ["streams", "looped"])
        return seconds

    for name, own in {
        "measured_seconds": clock,
        "draws_globally": lambda *_: False,
        "way_problem": lambda *_: None,
        "to_oneself": lambda _: nullcontext(),
    }.items():
        monkeypatch.setattr(f"kdsearch.distill.execution.choice.{name}", own)
    models = [build_model(arch, 10, 1, image_size=8) for _ in range(k)]
    plan = PackPlan(Precision(OnAGpu.device), seeds=range(k))
    assert measured_choice(models, OnAGpu(), lambda _: None, plan).way == expected


def test_dropout_of_a_step_in_a_tensor_is_that_of_its_number():
    model = nn.Sequential(nn.Dropout(0.5))
    key_dropout(model, 3)
    for step in (0, 7, 2**33):
        masks = []
        for given in (step, torch.tensor(hash_key(step))):
            model[0].begin(given)
            masks.append((model(torch.ones(50)), model(torch.ones(50))))
        assert all(map(torch.equal, *masks))
        assert not torch.equal(*masks[0])
