"""An independent loop of torch's own parts against `train_pack`.

They are compared over what a spec can say of a training. The loop shares with the engine what is drawn (the
split, the batches' order, initial weights, the masks of dropout and the views that augment) and computes all
else itself: pixels, losses, gradients, clipping, schedules, optimizers and measurements. The teacher's logits
are computed as they are needed, since stored ones are rounded to 16 bits.
"""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kdsearch.distill.execution.dropout import KeyedDropout, key_dropout
from kdsearch.distill.models import build_model
from kdsearch.distill.randomness import stream
from kdsearch.distill.teachers.initial_students import initial_student
from kdsearch.distill.teachers.made import ensure_teacher, load_teacher, recipe_of
from kdsearch.distill.training.kept import split_views_of
from kdsearch.distill.training.train_pack import train_pack
from kdsearch.spec import TrainingSpec

CPU = torch.device("cpu")
# Both add the same float32 numbers in other orders, which moves a loss by 1e-7 of it; the steps below enlarge
# that to 7e-6 at most. Of mistakes, a weight decay off by a tenth moves it by 2e-4, a clip norm off by a
# hundredth by 7e-4, a schedule that is a step late by 1e-2.
TOLERANCE = 3e-5
N_CLASSES = 4  # two rows of 8 pixels for each


def images_of_classes():
    """Give 8 × 8 images whose class is where they are bright.

    They have noise; 112 are to train and validate on, 32 to test.
    """
    rng = np.random.default_rng(0)
    labels = np.arange(144) % N_CLASSES
    pixels = rng.integers(0, 160, (144, 8, 8), dtype=np.uint8)
    for image, label in zip(pixels, labels, strict=True):
        image[2 * label : 2 * label + 2] += 60
    return (pixels[:112], labels[:112]), (pixels[112:], labels[112:])


class Dropping(nn.Module):
    """A user's network with two places of dropout, and BatchNorm.

    Both are of one module.
    """

    def __init__(self, num_classes, in_channels):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.hidden = nn.Linear(6 * 16, 12)
        self.fc = nn.Linear(12, num_classes)
        self.dropout = nn.Dropout(0.3)

    def forward(self, images):
        features = F.max_pool2d(F.relu(self.norm(self.conv(images))), 2).flatten(1)
        return self.fc(self.dropout(F.relu(self.hidden(self.dropout(features)))))


def spec(**sections):
    base = {
        "dataset": {"name": f"{__name__}:images_of_classes", "train_size": 64, "validation_size": 48},
        "student": {"arch": "mlp_16"},
        "teacher": {"arch": "mlp_24", "finetune": {"epochs": 3, "batch_size": 16, "lr": 0.05}},
        "objective": {"name": "kd", "temperature": 3.0, "alpha": 0.7},
        "optimizer": {"lr": 0.05},
        "training": {"epochs": 2, "batch_size": 16},
    }
    return TrainingSpec.model_validate({k: base.get(k, {}) | sections.get(k, {}) for k in {*base, *sections}})


def probabilities(logits, at=1.0):
    exponentials = ((logits - logits.amax(1, keepdim=True)) / at).exp()
    return exponentials / exponentials.sum(1, keepdim=True)


def divergence(p, q):
    """Return the mean KL divergence from p to q, in nats."""
    return (p * (p.log() - q.log())).sum(1).mean()


def kd(student, teacher, labels, at, options):
    p, q = probabilities(teacher, at), probabilities(student, at)
    return at**2 * (divergence(q, p) if options.get("divergence") == "reverse" else divergence(p, q))


def dkd(student, teacher, labels, at, options):
    """Decoupled distillation, term by term: target against the rest, and the rest among itself."""
    total = 0.0
    for own, other, label in zip(probabilities(student, at), probabilities(teacher, at), labels, strict=True):
        rest = torch.arange(len(own)) != label
        pair = [torch.stack([p[label], p[rest].sum()]) for p in (own, other)]
        among = [p[rest] / p[rest].sum() for p in (own, other)]
        target, others = ((b * (b.log() - a.log())).sum() for a, b in (pair, among))
        total = total + options["alpha"] * target + options["beta"] * others
    return at**2 * total / len(labels)


def dist(student, teacher, labels, at, options):
    """Return one less Pearson's correlation.

    It is taken over the classes of each example and the examples of each class.
    """
    own, other = probabilities(student, at), probabilities(teacher, at)

    def unlike(a, b):
        return 1 - torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(a, b, strict=True)])

    by_example, by_class = unlike(own, other).mean(), unlike(own.T, other.T).mean()
    return at**2 * (options["beta"] * by_example + options["gamma"] * by_class)


def nkd(student, teacher, labels, at, options):
    """Return cross-entropy on the target and among the others.

    The other classes count as they are among each other.
    """
    total = 0.0
    for own, other, label in zip(student, teacher, labels, strict=True):
        rest = torch.arange(len(own)) != label
        target = -other.softmax(0)[label] * own.softmax(0)[label].log()
        among = -((other[rest] / at).softmax(0) * (own[rest] / at).softmax(0).log()).sum()
        total = total + target + options["gamma"] * at**2 * among
    return total / len(labels)


def logit_standardization(student, teacher, labels, at, options):
    own, other = ((z - z.mean(1, keepdim=True)) / z.std(1, keepdim=True) for z in (student, teacher))
    return kd(own, other, labels, at, {})


TERMS = {"kd": kd, "dkd": dkd, "dist": dist, "nkd": nkd, "logit_standardization": logit_standardization}


class PaperLion(torch.optim.Optimizer):
    """The published steps of Lion, parameter by parameter."""

    def __init__(self, parameters, lr, betas, weight_decay):
        super().__init__(parameters, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        (group,) = self.param_groups
        first, second = group["betas"]
        for weight in group["params"]:
            average = self.state[weight].get("average", torch.zeros_like(weight))
            update = (first * average + (1 - first) * weight.grad).sign()
            weight.sub_(group["lr"] * (update + group["weight_decay"] * weight))
            self.state[weight]["average"] = second * average + (1 - second) * weight.grad


def optimizer_of(section, parameters):
    common = {"lr": section.lr, "weight_decay": section.weight_decay}
    betas = {"betas": (section.beta1, section.beta2)} if hasattr(section, "beta1") else {}
    if section.name == "lion":
        return PaperLion(parameters, **common, **betas)
    plain = common | {"foreach": False}
    if section.name == "sgd":
        return torch.optim.SGD(parameters, momentum=section.momentum, nesterov=section.nesterov, **plain)
    if section.name == "rmsprop":
        return torch.optim.RMSprop(parameters, momentum=section.momentum, **plain)
    return {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[section.name](parameters, **plain, **betas)


def learning_rates(training, peak, per_epoch):
    """Return the learning rate of every step."""
    steps, warmup = training.epochs * per_epoch, training.warmup_epochs * per_epoch
    if training.schedule == "one_cycle":
        dummy = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=peak)
        share = warmup / steps if warmup else 0.3
        cycle = torch.optim.lr_scheduler.OneCycleLR(dummy, peak, total_steps=steps, pct_start=share)
        rates = []
        for _ in range(steps):
            rates.append(cycle.get_last_lr()[0])
            dummy.step()
            if len(rates) < steps:
                cycle.step()
        return rates
    rates = [peak * (step + 1) / warmup for step in range(warmup)]
    for step in range(warmup, steps):
        factor = 1.0
        if training.schedule == "cosine":
            factor = 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))
        if training.schedule == "step":
            factor = math.prod(training.gamma for at in training.milestones if step >= round(at * steps))
        rates.append(peak * factor)
    return rates


def clip(parameters, norm):
    total = math.sqrt(sum(float(p.grad.double().square().sum()) for p in parameters))
    if total > norm:
        for parameter in parameters:
            parameter.grad *= norm / total


@dataclass
class Plain:
    """One student's training by the loop: its losses of each epoch."""

    train_losses: list[float]
    val_losses: list[float]
    val_accuracy: float


def batches_of(asked, place, epoch):
    """Yield images, labels, partners' labels and shares.

    Without views to draw they are from the pixels themselves.
    """
    data, training = place.data, asked.training
    if asked.augment != type(asked.augment)():
        for batch in place.views.batches(training.view_seed, epoch, training.batch_size):
            yield batch.images, batch.labels, batch.partner_labels, batch.mix
        return
    pixels = data.train.images[:].double() / 255
    ready = ((pixels - pixels.mean()) / pixels.std(correction=0)).float()
    for index in place.views.order(training.order_seed, epoch).split(training.batch_size):
        yield ready[index], data.train.labels[index], None, None


def plain_loop(asked, seed, tmp_path):
    """Train one student by torch's own parts."""
    place = split_views_of(asked, CPU)
    training, objective = asked.training, asked.objective
    student = initial_student(asked, seed, data=place.data, artifacts=tmp_path, device=CPU)
    key_dropout(student, seed)
    teacher = load_teacher(ensure_teacher(recipe_of(asked), tmp_path)).eval()
    weights = list(student.parameters())
    optimizer = optimizer_of(asked.optimizer, weights)
    per_epoch = math.ceil(len(place.data.train) / training.batch_size)
    rates = learning_rates(training, asked.optimizer.lr, per_epoch)
    found, step = Plain([], [], 0.0), 0
    for epoch in range(1, training.epochs + 1):
        losses = []
        student.train()
        for images, labels, partners, share in batches_of(asked, place, epoch):
            for module in student.modules():
                if isinstance(module, KeyedDropout):
                    module.begin(step)
            with torch.no_grad():
                taught = teacher(images)
            logits = student(images)
            logs = probabilities(logits).log()
            hard = -logs[torch.arange(len(labels)), labels]
            if share is not None:
                hard = share * hard - (1 - share) * logs[torch.arange(len(labels)), partners]
            term = TERMS[objective.name](logits, taught, labels, objective.temperature, objective.options)
            loss = objective.alpha * term + (1 - objective.alpha) * hard.mean()
            optimizer.zero_grad()
            loss.backward()
            if training.clip_norm is not None:
                clip(weights, training.clip_norm)
            optimizer.param_groups[0]["lr"] = rates[step]
            optimizer.step()
            losses.append((float(loss.detach()), len(labels)))
            step += 1
        found.train_losses.append(sum(one * n for one, n in losses) / sum(n for _, n in losses))
        validation = place.validation
        with torch.no_grad():
            logits = student.eval()(validation.plain(torch.arange(len(validation)))).double()
        chosen = probabilities(logits)[torch.arange(len(logits)), validation.labels]
        found.val_losses.append(float(-chosen.log().mean()))
        found.val_accuracy = float((logits.argmax(1) == validation.labels).double().mean())
    return found


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    return tmp_path_factory.mktemp("artifacts")


def assert_agrees(asked, artifacts, way, tolerance=TOLERANCE):
    """Compare two students of a pack, at two temperatures, with the loop's."""
    at = asked.objective.temperature
    curves = {0: ([], []), 1: ([], [])}

    def report(epoch, metrics):
        for number, own in metrics.items():
            curves[number][0].append(own["train_loss"])
            curves[number][1].append(own["val_loss"])
        return ()

    members = [
        {"number": number, "seed": number + 3, "objective.temperature": at * (number + 1)}
        for number in range(2)
    ]
    found = train_pack(
        asked, members, artifacts=artifacts, way=way, report=report, soft_target_cap_bytes=0, device="cpu"
    )
    for member, result in zip(members, found, strict=True):
        one = asked.with_values({"objective.temperature": member["objective.temperature"]})
        plain = plain_loop(one, member["seed"], artifacts)
        train_losses, val_losses = curves[member["number"]]
        assert train_losses == pytest.approx(plain.train_losses, rel=tolerance)
        assert val_losses == pytest.approx(plain.val_losses, rel=tolerance)
        assert result.metrics["val_accuracy"] == plain.val_accuracy


OPTIMIZERS = {
    "sgd": {"name": "sgd", "lr": 0.1, "weight_decay": 0.05},
    "no momentum": {"name": "sgd", "lr": 0.2, "momentum": 0.0, "weight_decay": 0.05},
    "nesterov": {"name": "sgd", "lr": 0.1, "nesterov": True, "weight_decay": 0.05},
    "adam": {"name": "adam", "lr": 0.01, "weight_decay": 0.01},
    "adamw": {"name": "adamw", "lr": 0.01, "weight_decay": 0.1, "beta1": 0.8},
    "rmsprop": {"name": "rmsprop", "lr": 0.002, "momentum": 0.5, "weight_decay": 0.01},
    "lion": {"name": "lion", "lr": 0.003, "beta2": 0.99, "weight_decay": 1.0},
}
SCHEDULES = {
    "constant": {"schedule": "constant"},
    "cosine": {"schedule": "cosine"},
    "step": {"schedule": "step", "milestones": [0.3, 0.6], "gamma": 0.2},
    "one cycle": {"schedule": "one_cycle"},
    "warm constant": {"schedule": "constant", "warmup_epochs": 1},
    "warm cosine": {"schedule": "cosine", "warmup_epochs": 1},
    "warm step": {"schedule": "step", "warmup_epochs": 1, "milestones": [0.7]},
    "warm one cycle": {"schedule": "one_cycle", "warmup_epochs": 1, "epochs": 3},
    "clipped": {"clip_norm": 0.3},
    "a batch that is not whole": {"batch_size": 24, "view_seed": 5, "order_seed": 7},
}
OBJECTIVES = {
    "kd alone": {"alpha": 1.0},
    "half": {"alpha": 0.5},
    "reverse": {"options": {"divergence": "reverse"}},
    "dkd": {"name": "dkd", "options": {"alpha": 1.0, "beta": 8.0, "warmup_epochs": 0}},
    "dist": {"name": "dist", "temperature": 1.0, "options": {"beta": 1.0, "gamma": 2.0}},
    "nkd": {"name": "nkd", "options": {"gamma": 1.5}},
    "standardized": {"name": "logit_standardization", "options": {"base": "kd"}},
}


@pytest.mark.parametrize("way", ["looped", "fused"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_steps_as_torchs_own(artifacts, optimizer, way):
    assert_agrees(spec(optimizer=OPTIMIZERS[optimizer]), artifacts, way)


@pytest.mark.parametrize("training", SCHEDULES)
def test_every_schedule_and_clipping_are_what_they_say(artifacts, training):
    assert_agrees(spec(training=SCHEDULES[training]), artifacts, "fused")


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_is_its_formula(artifacts, objective):
    assert_agrees(spec(objective=OBJECTIVES[objective], optimizer={"lr": 0.02}), artifacts, "fused")


@pytest.mark.parametrize("way", ["looped", "fused"])
@pytest.mark.parametrize(
    ("arch", "augment"),
    [("convnet_8", {}), ("convnet_8", {"mixup": 0.4, "crop_padding": 1}), (f"{__name__}:Dropping", {})],
)
def test_convolutions_mixed_images_and_dropout_train_as_in_the_loop(artifacts, arch, augment, way):
    assert_agrees(spec(student={"arch": arch}, augment=augment), artifacts, way)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_teacher_is_what_the_loop_makes_of_smoothed_labels(artifacts, optimizer, smoothing):
    finetune = {
        "epochs": 2,
        "batch_size": 16,
        "label_smoothing": smoothing,
        "lr": 0.02,
        "optimizer": optimizer,
    }
    asked = spec(teacher={"arch": "mlp_24", "seed": 1, "finetune": finetune})
    found = load_teacher(ensure_teacher(recipe_of(asked), artifacts))
    views, section = split_views_of(asked, CPU).views, asked.teacher.finetune
    model = build_model("mlp_24", N_CLASSES, 1, image_size=8, generator=stream(1, "teacher")).train()
    given = {"lr": section.lr, "weight_decay": section.weight_decay, "foreach": False}
    mine = (
        torch.optim.SGD(model.parameters(), momentum=section.momentum, **given)
        if optimizer == "sgd"
        else torch.optim.AdamW(model.parameters(), **given)
    )
    n_steps, step = 2 * views.n_batches(16), 0
    for epoch in (1, 2):
        for batch in views.batches(1, epoch, 16):
            logs = probabilities(model(batch.images)).log()
            own = F.one_hot(batch.labels, N_CLASSES) * (1 - smoothing) + smoothing / N_CLASSES
            mine.param_groups[0]["lr"] = section.lr * (1 + math.cos(math.pi * step / n_steps)) / 2
            mine.zero_grad()
            (-(own * logs).sum(1).mean()).backward()
            mine.step()
            step += 1
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], weight, rtol=TOLERANCE, atol=TOLERANCE)
