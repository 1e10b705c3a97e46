"""A study's training in words."""

from typing import Any

from kdsearch.analysis.labels import factor_label, level_text, value_text
from kdsearch.spec import StudySpec, spec_document
from kdsearch.spec.sections import CommandTrainer
from kdsearch.spec.study import NO_TRAINER, TrainingSpec


def training_sentence(spec: StudySpec) -> str:
    """Return what learns from what.

    Of an own trainer it is what the trainer is given.
    """
    if spec.trainer == "distill":
        return (
            f"{_levels(spec, 'student.arch')} learns from {_levels(spec, 'teacher.arch')} on "
            f"{_levels(spec, 'dataset.name')}; objective {_levels(spec, 'objective.name')}."
        )
    parts = [_trainer(spec)]
    factors = [f"{factor_label(path)} {_levels(spec, path)}" for path in spec.setup]
    options = [
        f"{name} {value_text(value)}" for name, value in spec.options.items() if not _varies(spec, name)
    ]
    parts += [f"setups of {'; '.join(factors)}"] if factors else []
    parts += [f"options {', '.join(options)}"] if options else []
    return f"{'; '.join(parts)}."


def epochs_text(spec: StudySpec) -> str:
    """Return for how many epochs students are trained: a number, or several."""
    return _levels(spec, "training.epochs")


def shown_document(spec: StudySpec) -> dict[str, Any]:
    """Return a spec's document as a person is shown it: without sections that an own trainer does not use.

    What the study file says of them stays: an own trainer may read it.
    """
    document = spec_document(spec)
    if spec.trainer == "distill":
        return document
    used = {path.partition(".")[0] for path in (*spec.setup, *spec.tune)}
    default = TrainingSpec().model_dump(mode="json")
    of_engine = [name for name in TrainingSpec.model_fields if name not in ("training", "trainer", "options")]
    is_silent = {name: name not in used and document.get(name) == default[name] for name in of_engine}
    return {name: value for name, value in document.items() if not is_silent.get(name)}


def _trainer(spec: StudySpec) -> str:
    if spec.trainer == NO_TRAINER:
        return "The runs were imported"
    if isinstance(spec.trainer, CommandTrainer):
        return f"Students are trained by the command {' '.join(spec.trainer.words)}"
    return f"Students are trained by {spec.trainer}"


def _varies(spec: StudySpec, option: str) -> bool:
    return f"options.{option}" in (*spec.setup, *spec.tune)


def _levels(spec: StudySpec, path: str) -> str:
    levels = spec.setup[path] if path in spec.setup else (spec.value_at(path),)
    texts = [level_text(path, level) for level in levels]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} or {texts[-1]}"
