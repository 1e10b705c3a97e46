"""The trainings whose packs must equal their students alone: each thing that may go wrong in a pack."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kdsearch.bench.engine.images import PATTERNED
from kdsearch.spec import TrainingSpec

EPOCHS = 6
"""Last batches and evaluations come once an epoch: three as they are, one recorded, the others replayed."""
_OWN = "kdsearch.bench.gpu_check.own"
_RATE = "optimizer.lr"
_OBJECTIVE = "objective.name"
# Of losses: evaluated after so few steps of BatchNorm they magnify rounding, 2e-3 was seen on a CPU. What
# is wrong in a pack, such as a neighbour's rate, shows in the first digit.
_ROUNDING = 2e-2
_BF16_ROUNDING = 0.2  # by hand: bf16 keeps 8 bits, so rounding is larger; see `_ROUNDING`
# Usual for optimizers whose steps do not shrink with the gradient; the others have 0.01.
_RATES = {"adam": 3e-4, "adamw": 3e-4, "rmsprop": 3e-4, "lion": 1e-4}


@dataclass(frozen=True)
class Case:
    """One training of three students, by what is special in it.

    Args:
        name: What is special.
        values: What differs from the plain training, by dotted path.
        members: What differs in each member, in their order.
        stops: The members that are stopped after an epoch, by epoch.
        resumes: The pack is interrupted in the last epoch and trained again from its checkpoint.
        rounding: The relative difference of losses that other ways may have.
        is_fused: Whether its packs can be fused.
    """

    name: str
    values: Mapping[str, Any] = field(default_factory=dict)
    members: Sequence[Mapping[str, Any]] = ({}, {}, {})
    stops: Mapping[int, Sequence[int]] = field(default_factory=dict)
    resumes: bool = False
    rounding: float = _ROUNDING
    is_fused: bool = True

    def spec(self, *, small: bool, eager: bool) -> TrainingSpec:
        """Return the training; `small` for a CPU, `eager` without CUDA graphs."""
        plain = TrainingSpec.model_validate(_SMALL if small else _PLAIN)
        graphs = {"training.cuda_graphs": False} if eager else {}
        return plain.with_values({**self.values, **graphs})

    def points(self) -> list[dict[str, Any]]:
        """Return the members: temperatures and seeds of their own, beside what the case gives them."""
        return [
            {"number": number, "seed": number, "objective.temperature": temperature, **own}
            for number, (temperature, own) in enumerate(zip(_TEMPERATURES, self.members, strict=True))
        ]


_TEMPERATURES = (1.0, 4.0, 16.0)  # far apart: a mixed-up member shows
_PLAIN = {
    "dataset": {
        "name": PATTERNED,
        "image_size": 16,
        "train_size": 140,
        "validation_size": 100,
    },  # batches of 32, and a smaller last one
    "augment": {"crop_padding": 2, "flip": True},
    "student": {"arch": "resnet8"},
    "teacher": {"arch": "convnet_16_32", "finetune": {"epochs": 2}},
    "optimizer": {"lr": 0.003},  # so low that rounding does not grow from step to step
    "training": {"epochs": EPOCHS, "batch_size": 32, "precision": "fp32", "compile": False},
}
_SMALL = {
    **_PLAIN,
    "dataset": {"name": PATTERNED, "image_size": 8, "train_size": 40, "validation_size": 20},
    "augment": {"crop_padding": 1, "flip": True},
    "student": {"arch": "convnet_4"},
    "teacher": {"arch": "convnet_4", "finetune": {"epochs": 1}},
    "training": {"epochs": EPOCHS, "batch_size": 16, "precision": "fp32", "compile": False},
}


def _of_objective(name: str, **options: Any) -> Case:
    said = " ".join(f"{key}={value}" for key, value in options.items())
    return Case(f"objective {name} {said}".strip(), {_OBJECTIVE: name, "objective.options": options})


def _of_optimizer(name: str, **values: Any) -> Case:
    said = " ".join(f"{key}={value}" for key, value in values.items())
    own = {f"optimizer.{key}": value for key, value in values.items()}
    rate = {_RATE: _RATES.get(name, 0.01)}
    return Case(f"optimizer {name} {said}".strip(), {"optimizer.name": name, **rate, **own})


def _of_training(name: str, **values: Any) -> Case:
    return Case(name, {f"training.{key}": value for key, value in values.items()})


_OBJECTIVES = (
    Case("objective kd"),
    *(_of_objective("kd", divergence=word) for word in ("reverse", "jeffreys", "js")),
    _of_objective("kd", student_temperature=2.0),
    _of_objective("dkd", warmup_epochs=2),
    _of_objective("logit_standardization"),
    Case("objective mlkd", {_OBJECTIVE: "mlkd", _RATE: 3e-4}),  # its gradients are large
    Case("objective dist", {_OBJECTIVE: "dist", _RATE: 1e-4}),  # as the square of the temperature
    *map(_of_objective, ("nkd", "ctkd", "mse", "entropy_rule", "max_logit_rule")),
    _of_objective(f"{_OWN}:squared_softened"),
    Case("labels alone", {"objective.alpha": 0.0}),
    Case("alphas of their own", members=({"objective.alpha": 1.0}, {"objective.alpha": 0.5}, {})),
    Case("moving temperatures", {"objective.temperature_ratio": 0.25}),
)
_OPTIMIZERS = (
    _of_optimizer("sgd", momentum=0.0),
    _of_optimizer("sgd", nesterov=True),
    *map(_of_optimizer, ("adam", "adamw", "rmsprop", "lion")),
    _of_optimizer(f"{_OWN}:nesterov"),
    Case(
        "rates and decays of their own",
        members=({_RATE: 0.03}, {"optimizer.weight_decay": 0.01}, {_RATE: 0.003, "optimizer.momentum": 0.5}),
    ),
)
_SCHEDULES = (
    _of_training("schedule constant", schedule="constant"),
    _of_training("schedule cosine, warm-up", schedule="cosine", warmup_epochs=1),
    _of_training("schedule step", schedule="step"),
    _of_training("schedule one_cycle", schedule="one_cycle"),
    _of_training("schedule of a user", schedule=f"{_OWN}:half_wave"),
)
_OTHERS = (
    Case("clipping", members=tuple({"training.clip_norm": norm} for norm in (0.05, 0.5, 100.0))),
    Case("dropout in a layer", {"student.arch": f"{_OWN}:layered_dropout"}),
    Case("dropout drawn globally", {"student.arch": f"{_OWN}:global_dropout"}, is_fused=False),
    Case("mixup", {"augment.mixup": 0.4}),
    Case("cutmix", {"augment.cutmix": 1.0}),
    Case("vision transformer", {"student.arch": "vit_16_1"}),
    Case("perceptron", {"student.arch": "mlp_16"}),
    Case("bf16", {"training.precision": "bf16"}, rounding=_BF16_ROUNDING),
    Case("a member diverges", members=({}, {_RATE: 1e30}, {})),
    Case("a member is pruned", stops={1: [1]}),
    Case("all but one are pruned", stops={1: [0], 5: [2]}),
    Case("resumed", resumes=True),
    Case("pruned and resumed, adamw", _of_optimizer("adamw").values, stops={1: [0]}, resumes=True),
    Case("resumed, dropout", {"student.arch": f"{_OWN}:layered_dropout"}, resumes=True),
)

CASES = (*_OBJECTIVES, *_OPTIMIZERS, *_SCHEDULES, *_OTHERS)
