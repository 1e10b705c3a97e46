"""What users bring to the engine: networks, weights, objectives; each taken right or refused."""

import io
import itertools
import math
import zipfile
from contextlib import suppress

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kdsearch.distill.data.dataset import load_dataset
from kdsearch.distill.execution import Precision, fusing_problem, key_dropout
from kdsearch.distill.execution.choice import PackPlan, way_problem
from kdsearch.distill.models import build_model
from kdsearch.distill.objectives import OwnTerm
from kdsearch.distill.preflight.checks import check_training, has_temperature
from kdsearch.distill.preflight.trainings import Preflight
from kdsearch.distill.teachers.made import ensure_teacher, load_teacher, recipe_of
from kdsearch.distill.training.kept import split_views_of
from kdsearch.distill.training.train_pack import train_pack
from kdsearch.distill.weights.starts import load_checkpoint
from kdsearch.errors import RequestError
from kdsearch.spec import TrainingSpec

CPU = torch.device("cpu")
CALLS = []


def spec(**sections):
    base = {
        "dataset": {"name": "digits", "train_size": 100, "validation_size": 100},
        "student": {"arch": "mlp_16"},
        "teacher": {"arch": "mlp_32", "finetune": {"epochs": 2}},
        "optimizer": {"lr": 0.05},
        "training": {"epochs": 2, "batch_size": 32},
    }
    return TrainingSpec.model_validate({k: base.get(k, {}) | sections.get(k, {}) for k in {*base, *sections}})


class Body(nn.Module):
    def __init__(self, num_classes, in_channels):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 8, 3, padding=1)
        self.fc = nn.Linear(8, num_classes)
        self.register_buffer("mean", torch.zeros(8))

    def forward(self, images):
        return self.fc(F.relu(self.conv(images)).mean((2, 3)))


class Assigning(Body):
    """Keeps running statistics by assignment."""

    def forward(self, images):
        features = F.relu(self.conv(images)).mean((2, 3))
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * features.mean(0).detach()
        return self.fc(features - self.mean)


class Viewing(nn.Module):
    """Flattens by a view, which channels that lie innermost do not allow."""

    def __init__(self, num_classes, in_channels):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 8, 3, padding=1)
        self.fc = nn.Linear(8 * 64, num_classes)

    def forward(self, images):
        return self.fc(F.relu(self.conv(images)).view(len(images), -1))


class Flattening(Viewing):
    """The same by a flattening that takes any layout."""

    def forward(self, images):
        return self.fc(F.relu(self.conv(images)).flatten(1))


def frozen(num_classes, in_channels):
    model = Body(num_classes, in_channels)
    model.conv.requires_grad_(False)
    return model


def assigning(num_classes, in_channels):
    return Assigning(num_classes, in_channels)


@pytest.mark.parametrize("arch", ["frozen", "assigning"])
def test_a_fused_pack_trains_a_users_network_as_the_loop_does(tmp_path, arch):
    asked = spec(student={"arch": f"{__name__}:{arch}"}, optimizer={"weight_decay": 0.1})
    members = [{"seed": seed, "number": seed} for seed in range(2)]
    looped, fused = (train_pack(asked, members, artifacts=tmp_path, way=way) for way in ("looped", "fused"))
    for own, other in zip(looped, fused, strict=True):
        assert other.metrics["val_loss"] == pytest.approx(own.metrics["val_loss"], rel=1e-4)


def test_a_way_that_fails_on_a_network_is_not_taken():
    model, images = Viewing(10, 1), torch.randn(4, 1, 8, 8)
    plan = PackPlan(Precision(CPU), seeds=(1,))
    assert "view" in way_problem("looped_channels_last", model, images, plan)
    assert fusing_problem(model, images, Precision(CPU)) is None


@pytest.mark.parametrize("way", ["looped", "fused", None])
@pytest.mark.parametrize(
    "roles",
    [
        lambda arch: {"student": {"arch": arch}},
        lambda arch: {"teacher": {"arch": arch, "finetune": {"epochs": 1, "head_epochs": 1}}},
        lambda arch: {"student": {"arch": arch, "init": {"epochs": 1}}},
    ],
    ids=["student", "teacher", "pretrained student"],
)
def test_a_network_that_flattens_by_a_view_learns_as_one_that_takes_any_layout(tmp_path, roles, way):
    viewing, flattening = (
        train_pack(
            spec(**roles(f"{__name__}:{arch}")), [{"seed": 0}], artifacts=tmp_path, way=way, device="cpu"
        )[0].metrics["val_loss"]
        for arch in ("Viewing", "Flattening")
    )
    assert viewing == pytest.approx(flattening, rel=1e-4)


def test_a_dropout_that_is_called_twice_draws_two_masks():
    dropout = nn.Sequential(nn.Dropout(0.5))
    key_dropout(dropout, 0)
    twice = dropout(dropout(torch.ones(100_000)))
    assert float((twice != 0).float().mean()) == pytest.approx(0.25, abs=0.01)
    assert float(twice.mean()) == pytest.approx(1.0, abs=0.03)


def test_frozen_layers_of_a_teacher_stay_as_they_are(tmp_path):
    arch = f"{__name__}:frozen"
    asked = spec(teacher={"arch": arch, "finetune": {"epochs": 1, "head_epochs": 1}})
    taught = load_teacher(ensure_teacher(recipe_of(asked), tmp_path))
    untouched = build_model(arch, 10, 1, image_size=8, generator=_teacher_stream())
    assert torch.equal(taught.conv.weight, untouched.conv.weight)
    assert not torch.equal(taught.fc.weight, untouched.fc.weight)


def _teacher_stream():
    from kdsearch.distill.randomness import stream

    return stream(0, "teacher")


def behind(prefix, state):
    return {prefix + name: value for name, value in state.items()}


def network(seed, arch="resnet8", classes=10):
    generator = torch.Generator().manual_seed(seed)
    return build_model(arch, classes, 1, image_size=8, generator=generator)


FORMS = {
    "lightning": lambda s: {"state_dict": behind("model.", s), "epoch": 3},
    "compiled parallel": lambda s: {"model": behind("_orig_mod.module.", s)},
    "wrapped twice": lambda s: {"state_dict": behind("net._orig_mod.", behind("module.module.", s))},
    "numpy beside": lambda s: {"model": s, "best": np.float64(0.9), "rng": np.random.get_state()},
    "averaged": lambda s: {"state_dict": {n: v * 0 for n, v in s.items()}, "state_dict_ema": s},
    "averaged inside": lambda s: (
        behind("ema_model.module.", s) | behind("model.", {n: v * 0 for n, v in s.items()})
    ),
    "half": lambda s: {n: v.half() if v.is_floating_point() else v for n, v in s.items()},
}


def in_float8(state):
    """Return weights as quantisers keep them: by the largest value, with one scale for each tensor."""
    kept = {}
    for name, value in state.items():
        if value.ndim > 1:
            scale = value.abs().max() / torch.finfo(torch.float8_e4m3fn).max
            kept[name], kept[f"{name}_scale"] = (value / scale).to(torch.float8_e4m3fn), scale
        else:
            kept[name] = value
    return kept


@pytest.mark.parametrize("form", FORMS)
def test_checkpoints_of_all_makers_are_read(tmp_path, form):
    theirs, mine = network(1), network(2)
    torch.save(FORMS[form](theirs.state_dict()), tmp_path / "net.pt")
    start = load_checkpoint(mine, str(tmp_path / "net.pt"))
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(mine.state_dict()[name], value, rtol=1e-3, atol=1e-4)
    assert (start.note is not None) == form.startswith("averaged")


def test_averages_without_names_are_told(tmp_path):
    """As torch_ema keeps them: which is which, nothing in the file says."""
    theirs, mine = network(1), network(2)
    averaged = {"decay": 0.99, "shadow_params": [value * 0 for value in theirs.parameters()]}
    torch.save({"model": theirs.state_dict(), "ema": averaged}, tmp_path / "net.pt")
    start = load_checkpoint(mine, str(tmp_path / "net.pt"))
    assert torch.equal(mine.state_dict()["conv1.weight"], theirs.state_dict()["conv1.weight"])
    assert "`ema.shadow_params`" in start.note


@pytest.mark.parametrize("name", ["net.safetensors", "pytorch_model.bin", "net"])
@pytest.mark.parametrize("kind", ["safetensors", "zip", "older"])
def test_a_checkpoint_is_read_by_what_it_holds_whatever_its_name_ends_in(tmp_path, name, kind):
    theirs, mine = network(1), network(2)
    if kind == "safetensors":
        pytest.importorskip("safetensors.torch").save_file(theirs.state_dict(), tmp_path / name)
    else:
        torch.save(theirs.state_dict(), tmp_path / name, _use_new_zipfile_serialization=kind == "zip")
    load_checkpoint(mine, str(tmp_path / name))
    assert all(torch.equal(mine.state_dict()[key], value) for key, value in theirs.state_dict().items())


def zipped(content):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("net.pt", content)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hello " * 100, "must be a PyTorch checkpoint of plain tensors, .*damaged, or of another kind"),
        (b"", "must be a PyTorch checkpoint of plain tensors, .*it is empty.*Copy it again"),
        (b"<html>Quota exceeded</html>", "must be a PyTorch checkpoint .*begins as none does"),
        (zipped(b"other"), "must be a PyTorch checkpoint .*a zip file of something else"),
        (
            (20).to_bytes(8, "little") + b'{"a": {"dtype": "F32"',
            "must be a whole safetensors file, .*Copy it",
        ),
    ],
)
@pytest.mark.parametrize("name", ["net.safetensors", "net.pt"])
def test_files_that_are_no_checkpoints_are_refused_in_one_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RequestError, match=rf"^`pretraining.checkpoint` {message}[^\n]*$"):
        load_checkpoint(network(2), str(tmp_path / name))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (network(1, "resnet14").state_dict(), r"has more: layer"),
        ({"a": network(1).state_dict(), "b": network(3).state_dict()}, r"with `a`, `b`"),
        ({"net": network(1).state_dict(), "more": {"conv1.lora_A": torch.ones(4, 9)}}, "adapters"),
        (network(1, "mlp_4").state_dict(), r"not fitting .*; it has "),
        ({n: v * math.nan for n, v in network(1).state_dict().items() if v.is_floating_point()}, "NaN"),
        ({n: v.double() + 1e300 for n, v in network(1).state_dict().items()}, "NaN or infinity"),
        ({n: v.to("meta") for n, v in network(1).state_dict().items()}, "must hold a state dict"),
        ({n: v.to(torch.int8) for n, v in network(1).state_dict().items()}, "conv1.weight .*in int8"),
        ({n: v.numpy() for n, v in network(1).state_dict().items()}, "and NumPy arrays"),
        (in_float8(network(1).state_dict()), r"16 bits or more, .* conv1.weight in float8_e4m3fn"),
    ],
)
def test_checkpoints_that_are_not_this_networks_are_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "net.pt")
    with pytest.raises(RequestError, match=message):
        load_checkpoint(network(2), str(tmp_path / "net.pt"))


@pytest.mark.parametrize(
    ("beside", "message"),
    [
        ({"conv1.lora_A": torch.ones(4, 9), "conv1.lora_B": torch.ones(16, 4)}, "adapters: conv1.lora_A"),
        ({"base.conv1.lora_A.default": torch.ones(4, 9)}, "adapters: base.conv1.lora_A.default"),
        ({"fc.hada_w1_a": torch.ones(10, 4)}, "adapters: fc.hada_w1_a"),
        ({"conv1.weight_scale": torch.ones(16)}, "has more: conv1.weight_scale"),
        ({"conv1.weight_scale": torch.tensor(0.5)}, "has more: conv1.weight_scale"),
        ({"layer1.0.prelu.weight": torch.tensor([0.25])}, "has more: layer1.0.prelu.weight"),
        ({"rotary.inv_freq": torch.ones(8), "conv1.total_ops": torch.ones(1)}, None),
    ],
)
def test_weights_that_others_change_are_not_taken_alone(tmp_path, beside, message):
    torch.save(network(1).state_dict() | beside, tmp_path / "net.pt")
    if message is None:
        load_checkpoint(network(2), str(tmp_path / "net.pt"))
        return
    with pytest.raises(RequestError, match=message):
        load_checkpoint(network(2), str(tmp_path / "net.pt"))


@pytest.mark.parametrize("lacking", [None, "size", "fc.bias"])
def test_a_head_that_nothing_trains_is_refused(tmp_path, lacking):
    state = network(1, "mlp_32", 11 if lacking == "size" else 10).state_dict()
    bias = list(state)[-1]
    state = {name: value for name, value in state.items() if lacking != "fc.bias" or name != bias}
    torch.save(state, tmp_path / "net.pt")
    pretraining = "none" if lacking is None else {"checkpoint": str(tmp_path / "net.pt")}
    asked = spec(teacher={"pretraining": pretraining, "finetune": {"epochs": 0}})
    for refuse in (check_training, lambda asked: ensure_teacher(recipe_of(asked), tmp_path)):
        with pytest.raises(RequestError, match=r"`teacher.finetune.epochs` must be above 0"):
            refuse(asked)


def test_a_teacher_sees_the_pixels_that_it_was_trained_on(tmp_path):
    theirs = network(1, "convnet_8_16").eval()
    torch.save(theirs.state_dict(), tmp_path / "net.pt")
    teacher = {
        "arch": "convnet_8_16",
        "pretraining": {"checkpoint": str(tmp_path / "net.pt")},
        "finetune": {"epochs": 0},
        "preprocessing": {"mean": [0.5], "std": [0.25], "size": 16},
    }
    asked = spec(teacher=teacher)
    data = load_dataset(asked.dataset)
    views = split_views_of(asked, CPU).validation.plain(torch.arange(20))
    mine = load_teacher(ensure_teacher(recipe_of(asked), tmp_path))
    pixels = (data.validation.images[:20].float() / 255 - 0.5) / 0.25
    larger = F.interpolate(pixels, (16, 16), mode="bilinear", align_corners=False, antialias=True)
    torch.testing.assert_close(mine(views), theirs(larger), rtol=1e-3, atol=1e-4)
    assert any("resized from 8 to 16 pixels" in note for note in check_training(asked))


def logit_mse(student, teacher, targets, temperature):
    CALLS.append(teacher.clone())
    return F.mse_loss(student, teacher)


class Averaging(nn.Module):
    """Has state, a weight that is learned, and the epoch."""

    made = 0

    def __init__(self, scale=1.0):
        super().__init__()
        Averaging.made += 1
        self.weight = nn.Parameter(torch.tensor(scale))

    def forward(self, student, teacher, targets, temperature, epoch):
        return self.weight.square() * epoch * F.mse_loss(student / temperature, teacher / temperature)


def test_an_own_objective_gets_true_logits_stored_or_live(tmp_path):
    asked = spec(objective={"name": f"{__name__}:logit_mse", "alpha": 1.0})
    losses = [
        train_pack(asked, [{"seed": 0}], artifacts=tmp_path, soft_target_cap_bytes=cap)[0].metrics["val_loss"]
        for cap in (2**30, 0)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert float(CALLS[-1].amax(1).abs().min()) > 0


def test_an_own_objective_is_made_once_for_each_student(tmp_path):
    Averaging.made = 0
    asked = spec(objective={"name": f"{__name__}:Averaging", "options": {"scale": 0.5}})
    found = train_pack(asked, [{"seed": 0, "number": 0}, {"seed": 1, "number": 1}], artifacts=tmp_path)
    assert Averaging.made == 2
    assert all(result.state == "complete" for result in found)


class Counting:
    """Weighs its loss by how often it was called."""

    def __init__(self):
        self.calls = 0

    def __call__(self, student, teacher, targets, temperature):
        self.calls += 1
        return self.calls * F.mse_loss(student / temperature, teacher / temperature)


counting, averaging, CALLED = Counting(), Averaging(), itertools.count(1)


def one_averaging():
    return averaging


@pytest.mark.parametrize("name", ["counting", "averaging", "one_averaging"])
def test_an_objective_that_keeps_something_is_each_students_own(tmp_path, name):
    asked = spec(objective={"name": f"{__name__}:{name}", "alpha": 1.0}, training={"epochs": 1})
    members = [{"seed": 0, "number": number} for number in range(3)]
    alone = train_pack(asked, members[:1], artifacts=tmp_path, way="looped")
    packed = train_pack(asked, members, artifacts=tmp_path, way="looped")
    assert len({result.metrics["val_loss"] for result in [*alone, *packed]}) == 1


def counting_in_its_module(student, teacher, targets, temperature):
    return next(CALLED) * F.mse_loss(student / temperature, teacher / temperature)


def test_an_objective_that_keeps_something_in_its_module_is_refused():
    with pytest.raises(
        RequestError, match=r"`objective.name` .*must give the same loss each time it is made"
    ):
        check_training(spec(objective={"name": f"{__name__}:counting_in_its_module"}))


def decorated(*arguments, **named):
    """As a decorator without functools.wraps leaves a function."""
    return teacher_first(*arguments[1::-1], *arguments[2:], **named)


def test_an_objective_that_takes_any_arguments_is_no_factory():
    student, teacher = torch.randn(2, 5, 10, generator=torch.Generator().manual_seed(0))
    found = OwnTerm(f"{__name__}:decorated", {})(student, teacher, torch.zeros(5).long(), 3.0)
    torch.testing.assert_close(found, teacher_first(teacher, student, None, 3.0))


@pytest.mark.parametrize(
    ("name", "alpha", "expected"),
    [
        *[("kd", 0.9, True), ("kd", 0.0, False), ("mse", 0.9, False), ("ctkd", 0.9, False)],
        ("entropy_rule", 0.9, False),
        *[(f"{__name__}:logit_mse", 0.9, False), (f"{__name__}:Averaging", 0.9, True)],
    ],
)
def test_it_is_known_whether_a_temperature_has_an_effect(name, alpha, expected):
    asked = spec(objective={"name": name, "alpha": alpha})
    assert has_temperature(asked) == expected
    assert any("has no effect" in note for note in check_training(asked)) != expected


def teacher_first(teacher_logits, student_logits, labels, at):
    """Names its logits, the other way round."""
    return F.kl_div(
        F.log_softmax(student_logits / at, 1), F.softmax(teacher_logits / at, 1), reduction="batchmean"
    )


def test_arguments_of_an_own_objective_go_by_their_names():
    student, teacher = torch.randn(2, 5, 10, generator=torch.Generator().manual_seed(0))
    term = OwnTerm(f"{__name__}:teacher_first", {})
    expected = teacher_first(teacher, student, None, 3.0)
    torch.testing.assert_close(term(student, teacher, torch.zeros(5).long(), 3.0), expected)


class Probabilities(Body):
    def forward(self, images):
        return super().forward(images).softmax(1)


class Auxiliary(Body):
    def forward(self, images):
        logits = super().forward(images)
        return (logits, logits) if self.training else logits


class Ending(Body):
    def forward(self, images):
        raise SystemExit(2)


class Infinite(Body):
    def forward(self, images):
        return super().forward(images) / 0


class Counting(Body):
    """Remembers outside its tensors how often it was trained."""

    def __init__(self, num_classes, in_channels):
        super().__init__(num_classes, in_channels)
        self.n_steps = 0

    def forward(self, images):
        self.n_steps += self.training
        return super().forward(images) * (1 + self.n_steps / 10)


class Forgetting(Body):
    """Keeps running statistics in a buffer that its state dict leaves out."""

    def __init__(self, num_classes, in_channels):
        super().__init__(num_classes, in_channels)
        self.register_buffer("seen", torch.zeros(8), persistent=False)

    def forward(self, images):
        features = F.relu(self.conv(images)).mean((2, 3))
        if self.training:
            self.seen.add_(features.mean(0).detach())
        return self.fc(features - self.seen)


def interrupted(asked, tmp_path, checkpoint):
    """Train a student, once interrupted after its first epoch was saved, and return its result."""

    def interrupt(epoch, metrics):
        if epoch == 2:
            raise KeyboardInterrupt
        return ()

    for report in (interrupt, None) if checkpoint else (None,):
        with suppress(KeyboardInterrupt):
            (found,) = train_pack(
                asked, [{"seed": 0}], artifacts=tmp_path, checkpoint=checkpoint, report=report, way="looped"
            )
    return found.metrics


@pytest.mark.parametrize("arch", ["Body", "Counting", "Forgetting", "Assigning"])
def test_a_student_that_remembers_in_any_way_comes_out_the_same_if_it_is_interrupted(tmp_path, arch):
    asked = spec(student={"arch": f"{__name__}:{arch}"})
    assert interrupted(asked, tmp_path, tmp_path / "kept") == interrupted(asked, tmp_path, None)


@pytest.mark.parametrize("arch", ["Counting", "Forgetting"])
def test_a_teacher_that_its_stored_weights_are_not_is_refused(tmp_path, arch):
    asked = spec(teacher={"arch": f"{__name__}:{arch}", "finetune": {"epochs": 1}})
    with pytest.raises(RequestError, match=f"`teacher.arch` must keep .* in its state dict, got .*{arch}'"):
        ensure_teacher(recipe_of(asked), tmp_path)
    assert not list(tmp_path.glob("teachers/*/weights.pt"))


class OfItsBatch(Body):
    """Normalises by the statistics of the images that are seen together, in evaluation too."""

    def __init__(self, num_classes, in_channels):
        super().__init__(num_classes, in_channels)
        self.conv = nn.Sequential(self.conv, nn.BatchNorm2d(8, track_running_stats=False))


class Detached(Body):
    def forward(self, images):
        return super().forward(images).detach()


class FirstAlone(Body):
    def forward(self, images):
        return super().forward(images)[:1]


def test_a_frozen_teacher_may_detach_what_it_gives(tmp_path):
    torch.save(Body(10, 1).state_dict(), tmp_path / "net.pt")
    pretraining = {"checkpoint": str(tmp_path / "net.pt")}
    teacher = {"arch": f"{__name__}:Detached", "pretraining": pretraining, "finetune": {"epochs": 0}}
    check_training(spec(teacher=teacher))


@pytest.mark.parametrize("role", ["student", "teacher"])
@pytest.mark.parametrize(
    ("arch", "told"),
    [
        ("Probabilities", "must give logits, .* whose outputs are probabilities"),
        ("Auxiliary", "must give logits alone in training too, .* with tuple"),
        ("Ending", "raises SystemExit in .*test_foreign.py:"),
        ("Infinite", "must give finite logits"),
        ("OfItsBatch", "must give each example its own logits in evaluation"),
        ("Detached", "must give logits with a gradient where it is trained"),
        ("FirstAlone", "must give logits for each example, .* 1 for"),
    ],
)
def test_networks_that_give_no_logits_are_refused_before_anything_starts(role, arch, told):
    with pytest.raises(RequestError, match=f"`{role}.arch` .*{told}"):
        check_training(spec(**{role: {"arch": f"{__name__}:{arch}"}}))


_ONE_BODY = Body(10, 1)


def shared(num_classes, in_channels):
    return _ONE_BODY


def of_any_width(num_classes, in_channels):
    width = next(WIDTHS)
    return nn.Sequential(nn.Flatten(), nn.Linear(64 * in_channels, width), nn.Linear(width, num_classes))


def of_one_seed(num_classes, in_channels):
    torch.manual_seed(0)
    return Body(num_classes, in_channels)


def of_one_seed_with_dropout(num_classes, in_channels):
    return nn.Sequential(of_one_seed(num_classes, in_channels), nn.Dropout())


WIDTHS = itertools.count(4)


@pytest.mark.parametrize(
    ("roles", "arch", "told"),
    [
        (("student", "teacher"), "shared", "must give a new network at each call"),
        (("student", "teacher"), "of_any_width", "must give networks of one shape"),
        (("student",), "of_one_seed", "whose weights are the same under every seed"),
    ],
)
def test_a_factory_that_gives_no_new_network_at_each_call_is_refused(roles, arch, told):
    for role in roles:
        with pytest.raises(RequestError, match=f"`{role}.arch` .*{told}"):
            check_training(spec(**{role: {"arch": f"{__name__}:{arch}"}}))


@pytest.mark.parametrize(
    "sections",
    [
        {"teacher": {"arch": f"{__name__}:of_one_seed"}},
        {"student": {"arch": f"{__name__}:of_one_seed"}, "training": {"vary": ["order"]}},
        {"student": {"arch": f"{__name__}:of_one_seed_with_dropout"}},
    ],
)
def test_weights_of_one_seed_are_taken_where_replicates_are_no_copies(sections):
    check_training(spec(**sections))


def test_classes_that_nothing_is_learned_or_measured_of_are_told():
    few = {"name": "digits", "train_size": 9, "validation_size": 100}
    notes = check_training(spec(dataset=few))
    assert any("the training split holds no example of '" in note for note in notes)
    notes = check_training(spec(dataset={**few, "train_size": 100, "validation_size": 9}))
    assert any("the validation split holds no example of '" in note for note in notes)
    notes = check_training(spec(dataset={**few, "train_size": 10, "validation_size": 10}))
    assert not any("holds no example" in note for note in notes)


def test_a_small_set_is_not_one_batch_of_its_teacher(tmp_path):
    asked = spec(dataset={"name": "digits", "train_size": 40, "validation_size": 100})
    notes = check_training(asked)
    assert any("batches hold 10 images instead of 64" in note for note in notes)
    said = {"arch": "mlp_32", "finetune": {"epochs": 2, "batch_size": 10}}
    teachers = [
        load_teacher(ensure_teacher(recipe_of(one), tmp_path))
        for one in (asked, spec(dataset=asked.dataset.model_dump(), teacher=said))
    ]
    images = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(teachers[0](images), teachers[1](images))


def swapped_kd(logits_teacher, logits_student, target, at):
    student, teacher = F.log_softmax(logits_student / at, 1), F.softmax(logits_teacher / at, 1)
    return F.kl_div(student, teacher, reduction="batchmean")


class SwappedKD(nn.Module):
    def forward(self, teacher, student, labels, at):
        return swapped_kd(teacher, student, labels, at)


@pytest.mark.parametrize(("name", "first"), [("swapped_kd", "logits_teacher"), ("SwappedKD", "teacher")])
def test_an_own_objective_whose_names_contradict_the_order_is_refused(name, first):
    told = f"`objective.name` must take the student's logits first, .* which takes them as `{first}`"
    with pytest.raises(RequestError, match=told):
        OwnTerm(f"{__name__}:{name}", {})


def test_a_study_of_an_own_objective_without_temperature_is_refused():
    checks = Preflight()
    checks.check_all([(spec(objective={"name": f"{__name__}:Averaging"}), (1.0, 40.0))])
    with pytest.raises(RequestError, match=r"`objective.name` .*must use the temperature, got the same loss"):
        checks.check_all([(spec(objective={"name": f"{__name__}:logit_mse"}), (1.0, 40.0))])


def bounded_kd(student, teacher, targets, temperature):
    """Knows no temperature above 5."""
    at = min(temperature, 5.0)
    return F.kl_div(F.log_softmax(student / at, 1), F.softmax(teacher / at, 1), reduction="batchmean")


def hot_kd(student, teacher, targets, temperature):
    """Knows no temperature below 50."""
    at = max(temperature, 50.0)
    return F.kl_div(F.log_softmax(student / at, 1), F.softmax(teacher / at, 1), reduction="batchmean")


def noisy_mse(student, teacher, targets, temperature):
    return F.mse_loss(student, teacher + torch.randn(teacher.shape))


@pytest.mark.parametrize(
    ("name", "temperatures", "expected"),
    [
        *[("bounded_kd", (1.0, 40.0), True), ("bounded_kd", (6.0, 15.0, 40.0), False)],
        *[("hot_kd", (1.0, 40.0), False), ("hot_kd", (1.0, 14.0, 200.0), True)],
        ("noisy_mse", (1.0, 40.0), False),
    ],
)
def test_a_temperatures_effect_is_looked_for_in_the_studys_own_range(name, temperatures, expected):
    asked = spec(objective={"name": f"{__name__}:{name}"})
    assert has_temperature(asked, temperatures=temperatures) == expected
    if not expected:
        ends = f"at {temperatures[0]:g} and {temperatures[-1]:g}"
        with pytest.raises(RequestError, match=f"must use the temperature, got the same .* {ends}:"):
            Preflight().check_all([(asked, temperatures)])


def test_entropies_are_those_of_the_soft_targets_that_are_taught(tmp_path):
    asked = spec(objective={"name": "logit_standardization", "temperature": 2.0})
    (found,) = train_pack(asked, [{"seed": 0}], artifacts=tmp_path)
    views = split_views_of(asked, CPU).validation
    teacher = load_teacher(ensure_teacher(recipe_of(asked), tmp_path))
    logits = torch.cat([teacher(batch.images) for batch in views.plain_batches(50)]).double()
    z = (logits - logits.mean(1, keepdim=True)) / logits.std(1, keepdim=True) / 2.0
    expected = float(torch.distributions.Categorical(logits=z).entropy().mean())
    assert found.metrics["teacher_entropy"] == pytest.approx(expected, rel=1e-4)
