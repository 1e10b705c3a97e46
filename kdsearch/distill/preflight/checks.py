"""What a training brings, looked at before anything starts: networks, weights and objective."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from kdsearch.distill.data.dataset import ImageData, Split, load_dataset
from kdsearch.distill.data.preprocessing import described
from kdsearch.distill.factories import place_of
from kdsearch.distill.models import is_unvetted, is_users
from kdsearch.distill.objectives import OwnTerm
from kdsearch.distill.randomness import seeded, stream
from kdsearch.distill.teachers.initial_students import starting_recipe
from kdsearch.distill.teachers.recipes import TeacherRecipe, recipe_of
from kdsearch.distill.teachers.setting_paths import errors_about
from kdsearch.distill.teachers.supervised import batch_size_of
from kdsearch.distill.weights.checkpoint_files import listed
from kdsearch.distill.weights.prepared_networks import build_prepared, preparation_of
from kdsearch.distill.weights.published import published_head
from kdsearch.distill.weights.starts import Start, fresh, load_checkpoint, refuse_untrained
from kdsearch.errors import KDSearchError, RequestError
from kdsearch.spec import TrainingSpec
from kdsearch.spec.catalogue import USUAL_TEMPERATURES, ignores_temperature
from kdsearch.spec.sections import Finetune, Pretraining

_N_EXAMPLES = 8
"""By hand: a batch that shows shapes, at next to no cost."""
_N_FEWER = 3  # of them, which have other neighbours then
_ROUNDING = 1e-2
"""By hand: far above what other sums make of a logit, in bf16 too, and far below what other neighbours do."""


def check_training(
    spec: TrainingSpec, data: ImageData | None = None, *, temperatures: Sequence[float] = USUAL_TEMPERATURES
) -> list[str]:
    """Check all parts of a training and return notes for its user.

    Nothing is trained, downloaded or written.

    Args:
        spec: How one student is trained, as `StudySpec.resolve` gives it.
        data: The study's images, where they are at hand.
        temperatures: Some that the study may try, its lowest and highest among them.

    Raises:
        RequestError: Something can't be had, or does not fit; in one line.
    """
    data = load_dataset(spec.dataset) if data is None else data
    notes = [*class_notes(data), *check_networks(spec, data), *check_weights(spec, data)]
    has_effect = has_temperature(spec, data.num_classes, temperatures)
    return [*notes, *objective_notes(spec, has_effect=has_effect)]


def class_notes(data: ImageData) -> list[str]:
    """Return of which classes a split holds no example.

    It may be on purpose: a teacher tells its student of classes that the student is never shown.
    """
    splits = {"training": data.train, "validation": data.validation}
    lacking = {name: _classes_without(data, split) for name, split in splits.items()}
    return [f"the {name} split holds no example of {classes}" for name, classes in lacking.items() if classes]


def _classes_without(data: ImageData, split: Split) -> str:
    """Return the names of the classes that a split has no example of."""
    counts = torch.bincount(split.labels, minlength=data.num_classes)
    names = [repr(data.classes[index]) for index in (counts == 0).nonzero().flatten()]
    return listed(names, 3) if names else ""


def check_networks(spec: TrainingSpec, data: ImageData) -> list[str]:
    """Build student and teacher. Return what they are fed with where it is not the data as they are."""
    notes = []
    for name, section in (("student", spec.student), ("teacher", spec.teacher)):
        if name == "teacher" and not spec.objective.alpha:
            continue
        with errors_about("teacher" if name == "teacher" else "student"), _in_one_line(f"{name}.arch"):
            model = build_prepared(section, data)
            if name == "student" and not any(own.requires_grad for own in model.parameters()):
                raise RequestError(
                    f"`arch` must have parameters that are trained, got {section.arch!r}, all of them "
                    "frozen. Let its factory leave them trainable."
                )
            if is_users(section.arch):
                other = build_prepared(section, data, stream(1, "another"))
                _check_made_anew(model, other, section.arch)
                if name == "student":
                    _check_luck(spec, model, other, data)
            if is_unvetted(section.arch):
                is_trained = name == "student" or spec.teacher.finetune.epochs > 0
                notes.append(check_output(model, section.arch, name, data, is_trained=is_trained))
            notes.append(described(name, preparation_of(section, data), data))
    return [note for note in notes if note is not None]


def _check_made_anew(model: nn.Module, other: nn.Module, arch: str) -> None:
    """Check that a user's factory gives one network after the other, all alike."""
    own, others = dict(model.named_parameters()), dict(other.named_parameters())
    if any(weights.requires_grad and weights is others.get(name) for name, weights in own.items()):
        raise RequestError(
            f"`arch` must give a new network at each call, got {arch!r}, whose networks share weights: "
            "students would train each other's. Build it inside the factory."
        )
    shapes = [{name: weights.shape for name, weights in found.items()} for found in (own, others)]
    if shapes[0] != shapes[1]:
        raise RequestError(
            f"`arch` must give networks of one shape, got {arch!r}, whose layers differ from call to call. "
            "Fix its sizes."
        )


def _check_luck(spec: TrainingSpec, model: nn.Module, other: nn.Module, data: ImageData) -> None:
    """Check that students of other seeds are other students: else replicates are copies, without doubt."""
    is_drawn = any(not torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    if is_drawn or spec.training.vary or spec.student.init != "random":
        return
    images, trial = _examples(data), copy.deepcopy(model).train()
    outputs = []
    for seed in (0, 1):
        with torch.no_grad(), seeded(seed):
            outputs.append(trial(images))
    if torch.equal(*outputs):
        raise RequestError(
            f"`arch` must give each student weights of its own, got {spec.student.arch!r}, whose weights are "
            "the same under every seed: replicates would be copies. Leave out its manual_seed, or, where it "
            "loads weights, let the batches' order vary: `training: {vary: [order]}`."
        )


def check_output(model: nn.Module, arch: str, name: str, data: ImageData, *, is_trained: bool) -> str | None:
    """Call a foreign network in training and in evaluation. Return a word on what it draws."""
    images, trial = _examples(data), copy.deepcopy(model)
    with torch.random.fork_rng(devices=[]):
        with torch.set_grad_enabled(is_trained):
            trained = trial.train()(images)
        with torch.no_grad():
            logits, again = trial.eval()(images), trial(images)
            fewer = trial(images[:_N_FEWER])
    if is_trained and isinstance(trained, torch.Tensor) and not trained.requires_grad:
        raise RequestError(
            f"`arch` must give logits with a gradient where it is trained, got {arch!r}, whose output has "
            "none. Leave out its `detach` or `no_grad`; of a teacher, or set `finetune.epochs: 0`."
        )
    if not isinstance(trained, torch.Tensor) or trained.shape != logits.shape:
        got = tuple(trained.shape) if isinstance(trained, torch.Tensor) else type(trained).__name__
        raise RequestError(
            f"`arch` must give logits alone in training too, got {arch!r} with {got} there. Leave out its "
            "auxiliary outputs."
        )
    if len(logits) != len(images):
        raise RequestError(
            f"`arch` must give logits for each example, got {arch!r} with {len(logits)} for {len(images)}."
        )
    if not bool(logits.isfinite().all()):
        raise RequestError(f"`arch` must give finite logits, got {arch!r} with NaN or infinity in them.")
    if bool((logits >= 0).all()) and torch.allclose(logits.sum(1), torch.ones(()).to(logits), atol=1e-3):
        raise RequestError(
            f"`arch` must give logits, got {arch!r}, whose outputs are probabilities: a temperature divides "
            "logits. Leave out its softmax."
        )
    if not torch.equal(logits, again):
        return f"{name}: draws at random in evaluation too"
    if not torch.allclose(logits[:_N_FEWER], fewer, rtol=_ROUNDING, atol=_ROUNDING):
        raise RequestError(
            f"`arch` must give each example its own logits in evaluation, got {arch!r}, whose logits depend "
            "on the rest of the batch. Let BatchNorm keep running statistics, say."
        )
    return None


def _examples(data: ImageData) -> torch.Tensor:
    return data.inputs.random(_N_EXAMPLES, stream(0, "output"))


def check_weights(spec: TrainingSpec, data: ImageData) -> list[str]:
    """Load what checkpoints hold into the networks. Return what was chosen, and what stays random."""
    notes = []
    if spec.objective.alpha:
        recipe = recipe_of(spec)
        with errors_about("teacher"):
            start = _start_of(recipe, data)
            refuse_untrained(start, recipe.teacher.finetune)
            notes += _said_of("teacher", start, recipe)
        notes += _said_of_batches(recipe.teacher.finetune, len(data.train))
    if isinstance(spec.student.init, Pretraining):
        with errors_about("student"):
            recipe = starting_recipe(spec, build_prepared(spec.student, data), 0) or recipe_of(spec)
            notes += _said_of("student", _start_of(recipe, data), recipe)
    return notes


def objective_notes(spec: TrainingSpec, *, has_effect: bool) -> list[str]:
    """Return a word where the temperature has no effect, as `has_temperature` found."""
    if has_effect:
        return []
    objective = spec.objective
    why = "its weight `objective.alpha` is 0" if not objective.alpha else "it does not use it"
    return [f"`objective.temperature` has no effect on {objective.name!r}: {why}. No temperature is best."]


def has_temperature(
    spec: TrainingSpec, num_classes: int = 10, temperatures: Sequence[float] = USUAL_TEMPERATURES
) -> bool:
    """Return whether the temperature changes a training's loss.

    A user's objective is called at each of the temperatures, each time as new, on the same logits and with
    the same numbers where it draws at random.

    Args:
        spec: The training.
        num_classes: Of the data; 10 will do where they are unknown.
        temperatures: Those that are compared.

    Raises:
        RequestError: The user's objective does not fit, or raises.
    """
    objective = spec.objective
    if ":" not in objective.name:
        return not ignores_temperature(objective.name, objective.alpha)
    first, again, *others = (_tried(spec, t, num_classes) for t in (temperatures[0], *temperatures))
    if _differ(first, again):
        raise RequestError(
            f"`objective.name` {objective.name!r} must give the same loss each time it is made, got another "
            "one of the same logits. Keep its state in what its factory returns, and draw by torch alone."
        )
    return objective.alpha > 0 and any(_differ(first, other) for other in others)


def _differ(one: Sequence[torch.Tensor], other: Sequence[torch.Tensor]) -> bool:
    return any(not torch.equal(a, b) for a, b in zip(one, other, strict=True))


def _tried(spec: TrainingSpec, temperature: float, num_classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a user's objective's loss on some logits, and its gradient."""
    objective, generator = spec.objective, stream(0, "objective")
    student = (3 * torch.randn(_N_EXAMPLES, num_classes, generator=generator)).requires_grad_()
    teacher = 3 * torch.randn(_N_EXAMPLES, num_classes, generator=generator)
    targets = torch.randint(0, num_classes, (_N_EXAMPLES,), generator=generator)
    given = teacher.clone()
    with _in_one_line("objective.name"), seeded(0):
        loss = OwnTerm(objective.name, objective.options)(student, given, targets, temperature)
        (gradient,) = torch.autograd.grad(loss, student)
    if not torch.equal(given, teacher):
        raise RequestError(
            f"`objective.name` {objective.name!r} must leave the teacher's logits as they are: other "
            "students get them too. Work on a copy."
        )
    if not bool(torch.isfinite(loss)) or not bool(torch.isfinite(gradient).all()):
        raise RequestError(
            f"`objective.name` {objective.name!r} must give a finite loss and gradient, got {float(loss):g} "
            f"on ordinary logits at a temperature of {temperature:g}. Compute it from log-softmax, say."
        )
    return loss.detach(), gradient


def _start_of(recipe: TeacherRecipe, data: ImageData) -> Start:
    """Return what loading a recipe's weights leaves as it was drawn. It is as much as files tell."""
    teacher = recipe.teacher
    pretraining = teacher.pretraining
    model = build_prepared(teacher, data)
    if not isinstance(pretraining, Pretraining):
        return fresh(model)
    if pretraining.checkpoint is not None:
        return load_checkpoint(model, pretraining.checkpoint, new_stem=teacher.stem == "small")
    if pretraining.weights is not None:
        return published_head(model, teacher.arch, pretraining.weights, data)
    return Start(fresh(model).untrained, "a pretraining on another data set gives no head")


def _said_of(name: str, start: Start, recipe: TeacherRecipe) -> list[str]:
    notes = [] if start.note is None else [f"{name}: {start.note}"]
    if start.untrained and recipe.teacher.pretraining != "none":
        notes.append(f"{name}: {', '.join(start.untrained[:3])} are drawn anew, since {start.why}")
    return notes


def _said_of_batches(finetune: Finetune, n_train: int) -> list[str]:
    size = batch_size_of(finetune, n_train)
    if size == finetune.batch_size or not finetune.epochs + finetune.head_epochs:
        return []
    return [
        f"teacher: batches hold {size} images instead of {finetune.batch_size}, a quarter of the {n_train} "
        "there are, so that an epoch is no single step"
    ]


@contextmanager
def _in_one_line(setting: str) -> Iterator[None]:
    """Say in one line what a user's own code raises."""
    try:
        yield
    except KDSearchError:
        raise
    except (Exception, SystemExit) as error:  # it may raise anything
        where = place_of(error.__traceback__)
        place = f" in {where}" if where else ""
        first = (str(error).strip() or "no message").splitlines()[0].rstrip(".")
        raise RequestError(
            f"`{setting}` must run, but raises {type(error).__name__}{place}: {first}. Correct it there."
        ) from error
