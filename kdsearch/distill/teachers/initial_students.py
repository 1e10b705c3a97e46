"""The weights that a student starts from, by its seed."""

from typing import Any

import torch
from torch import nn

from kdsearch.artifacts.store import Place
from kdsearch.distill.data.dataset import ImageData
from kdsearch.distill.randomness import stream
from kdsearch.distill.teachers.made import ensure_teacher, load_start, load_weights_of
from kdsearch.distill.teachers.recipes import TeacherRecipe
from kdsearch.distill.teachers.setting_paths import errors_about
from kdsearch.distill.teachers.supervised import finetune_of
from kdsearch.distill.weights.prepared_networks import build_prepared
from kdsearch.seeds import shared_start_seed
from kdsearch.spec import TrainingSpec
from kdsearch.spec.sections import Finetune, Preprocessing, Pretraining, Teacher


def initial_student(
    spec: TrainingSpec, seed: int, *, data: ImageData, artifacts: Place, device: torch.device | str
) -> nn.Module:
    """Return a student before its first step, on the CPU.

    Its own seed draws what is not loaded: all of it, or a new head. Weights that are trained here first
    are kept like a teacher's, so that trials share them: a pretraining on another data set once, and
    training on the study's own data (`init: {epochs: N}` or `finetune_epochs`) once for each of four
    seeds, `seed` modulo 4, so that replicates differ.

    Args:
        spec: How the student is trained; `student.init` says where it starts.
        seed: The student's own.
        data: The study's images.
        artifacts: The folder or the URL of the artifact store.
        device: Where weights are trained that must be.

    Raises:
        RequestError: The weights can't be had, or belong to another architecture.
        RunError: Their training failed.
    """
    with errors_about("student"):
        model = build_prepared(spec.student, data, stream(seed, "student"))
        recipe = starting_recipe(spec, model, seed)
        if recipe is None:
            return model
        if recipe.teacher.finetune.epochs:
            record = ensure_teacher(recipe, artifacts, device)
            model.load_state_dict(load_weights_of(record))
        else:
            load_start(model, recipe, data, artifacts, device)
    return model


def starting_recipe(spec: TrainingSpec, model: nn.Module, seed: int) -> TeacherRecipe | None:
    """Return the recipe of a student's starting weights, if any.

    It is None where the student starts at random.
    """
    init = spec.student.init
    if not isinstance(init, Pretraining):
        return None
    trained_on_target = init.epochs is not None and init.dataset is None
    if trained_on_target:
        finetune = finetune_of(init, model, (init.epochs or 0) + init.finetune_epochs)
    elif init.finetune_epochs:
        finetune = finetune_of(init, model, init.finetune_epochs, pretrained=True)
    else:
        finetune = Finetune(epochs=0)
    start = Teacher(
        arch=spec.student.arch,
        stem=spec.student.stem,
        preprocessing=_fed(spec),
        pretraining="none" if trained_on_target else init.model_copy(update={"finetune_epochs": 0}),
        finetune=finetune,
        seed=shared_start_seed(seed) if finetune.epochs else 0,
    )
    return TeacherRecipe(spec.dataset, spec.augment, start, role="student")


def _fed(spec: TrainingSpec) -> Any:
    """Return what a start is fed with: as the student, which sees images of the data's size."""
    said = spec.student.preprocessing
    is_published = isinstance(spec.student.init, Pretraining) and spec.student.init.weights is not None
    if said in ("data", "weights") or not is_published:
        return said
    given = said if isinstance(said, Preprocessing) else Preprocessing()
    return given.model_copy(update={"size": given.size or "data"})
