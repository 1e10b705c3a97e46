"""Settings that do nothing in a study: whoever gave one meant something else."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from kdsearch.spec import catalogue
from kdsearch.spec.claims import Place
from kdsearch.spec.roles import LEARNING_RATES
from kdsearch.spec.sections import Augment, Finetune
from kdsearch.spec.space import ends_of, value_at
from kdsearch.spec.study import StudySpec

_FINETUNE = "teacher.finetune."
_LENGTHS = (f"{_FINETUNE}epochs", f"{_FINETUNE}head_epochs")
_OF_FINETUNING = tuple(path for leaf in Finetune.model_fields if (path := _FINETUNE + leaf) not in _LENGTHS)

_RATES = LEARNING_RATES - {"eta"}  # which is a share, too


def idle_settings(spec: StudySpec) -> Iterator[Place]:
    """Yield settings that do nothing, and factors whose levels are the same training.

    What a trainer of the user's own makes of a setting is not known here.
    """
    given = _Given(spec)
    yield from _splits_of_nothing(given)
    yield from _shape_of_nothing(given)
    yield from _rates_of_nothing(given)
    if spec.trainer != "distill":
        return
    yield from _options_of_nothing(given)
    yield from _of_other_optimizers(given, "optimizer.", "optimizer.name")
    yield from _of_other_optimizers(given, _FINETUNE, f"{_FINETUNE}optimizer")
    yield from _of_other_schedules(given)
    yield from _of_no_finetuning(given)
    yield from _motion_of_nothing(given)
    yield from _views_of_nothing(given)


@dataclass(frozen=True)
class _Given:
    """What a study gives, and where."""

    spec: StudySpec

    @cached_property
    def _document(self) -> Mapping[str, Any]:
        return self.spec.model_dump(exclude_defaults=True)  # a whole spec's document has the defaults

    def places(self, path: str) -> Iterator[tuple[str, ...]]:
        """Yield the keys of each place where a path is given a value."""
        yield from self.varied(lambda other: other == path)
        try:
            value_at(self._document, path)
        except KeyError:
            return
        yield tuple(path.split("."))

    def varied(self, is_meant: Callable[[str], bool]) -> Iterator[tuple[str, ...]]:
        """Yield the keys of factors and tuned parameters."""
        for section, paths in (("setup", self.spec.setup), ("tune", self.spec.tune)):
            yield from ((section, path) for path in paths if is_meant(path))

    def levels(self, path: str) -> Collection[Any]:
        """Return the values that a path has in the study: none where it is tuned."""
        if path in self.spec.tune:
            return ()
        return self.spec.setup[path] if path in self.spec.setup else (self.spec.value_at(path),)

    def is_always(self, path: str, value: Any) -> bool:
        """Return whether a path has no other value in the study."""
        levels = self.levels(path)
        return bool(levels) and all(level == value for level in levels)


def _splits_of_nothing(given: _Given) -> Iterator[Place]:
    if "split" not in given.spec.training.vary:
        for keys in given.places("training.splits"):
            yield keys, "does nothing: `training.vary` has no split. Add it, or leave this out."


def _rates_of_nothing(given: _Given) -> Iterator[Place]:
    """Yield learning rates of a user's own trainer that may be 0: so trained, a student learns nothing."""
    spec = given.spec
    values = {("options", name): [value] for name, value in spec.options.items()}
    values |= {("setup", path): list(levels) for path, levels in spec.setup.items()}
    values |= {("tune", path): ends_of(dimension) for path, dimension in spec.tune.items()}
    for keys, found in values.items():
        name = keys[1].removeprefix("options.").lower().replace("-", "_")
        numbers = [v for v in found if isinstance(v, int | float) and not isinstance(v, bool)]
        if name in _RATES and numbers and min(numbers) <= 0:
            yield keys, f"must be above 0: at a learning rate of {min(numbers):g} a student learns nothing."


def _options_of_nothing(given: _Given) -> Iterator[Place]:
    message = "does nothing: `options` are of a trainer of your own. Name it as `trainer`, or leave this out."
    keys = [("options", name) for name in given.spec.options]
    for place in (*keys, *given.varied(lambda path: path.startswith("options."))):
        yield place, message


def _of_other_optimizers(given: _Given, section: str, name: str) -> Iterator[Place]:
    """Yield settings that none of a network's optimizers takes."""
    names = [str(level) for level in given.levels(name)]
    known = {own: catalogue.OPTIMIZERS[own].takes for own in names if own in catalogue.OPTIMIZERS}
    if not names or any(own not in known and not catalogue.is_factory(own) for own in names):
        return
    takers: dict[str, list[str]] = {}
    for owner, facts in catalogue.OPTIMIZERS.items():
        for leaf in facts.takes:
            takers.setdefault(leaf, []).append(owner)
    for leaf, owners in takers.items():
        if not set(owners) & set(known):
            for keys in given.places(section + leaf):
                message = (
                    f"does nothing: it belongs to {', '.join(owners)}, the study has {', '.join(names)}."
                )
                yield keys, f"{message} Leave it out."


def _of_other_schedules(given: _Given) -> Iterator[Place]:
    names = [str(level) for level in given.levels("training.schedule")]
    if "step" in names or not names:
        return
    for path in ("training.gamma", "training.milestones"):
        for keys in given.places(path):
            yield keys, f"does nothing: it belongs to step, the study has {', '.join(names)}. Leave it out."


def _of_no_finetuning(given: _Given) -> Iterator[Place]:
    """Yield what varies of a finetuning that there is none of. A value beside `epochs: 0` waits for some."""
    if not all(given.is_always(path, 0) for path in _LENGTHS):
        return
    for keys in given.varied(lambda path: path in _OF_FINETUNING):
        yield keys, f"does nothing: `{_FINETUNE}epochs` is 0, the teacher is not finetuned. Leave it out."


def _views_of_nothing(given: _Given) -> Iterator[Place]:
    """Yield seeds of views where no image is ever changed. A seed that does not vary waits for some."""
    if not all(
        given.is_always(f"augment.{leaf}", default) for leaf, default in Augment().model_dump().items()
    ):
        return
    for keys in given.varied(lambda path: path == "training.view_seed"):
        yield keys, "does nothing: the study has no `augment`, so all views are the same. Leave it out."


def _shape_of_nothing(given: _Given) -> Iterator[Place]:
    """Yield the shape of a temperature that does not move. It would do nothing."""
    ratio = "objective.temperature_ratio"
    if ratio in given.spec.setup or not given.is_always(ratio, 1):
        return
    for keys in given.places("objective.temperature_shape"):
        yield (
            keys,
            f"does nothing: `{ratio}` is 1, so the temperature stays where it is. Set it, to 4 say.",
        )


def _motion_of_nothing(given: _Given) -> Iterator[Place]:
    """Yield what moves a temperature that an objective does not take: its levels would be one training."""
    names = [str(name) for name in given.levels("objective.name")]
    alphas = given.levels("objective.alpha")
    silent = [f"`objective.name: {name}`" for name in names if catalogue.ignores_temperature(name, 1.0)]
    silent += ["`objective.alpha: 0`"] * (0 in alphas)
    if not silent:
        return
    beside = f"beside {' and '.join(silent)}, where temperature has no effect"
    ratio = "objective.temperature_ratio"
    for path in (ratio, "objective.temperature_shape"):
        if path in given.spec.setup:
            message = f"has levels that are the same training {beside}. Make a study of its own of that."
            yield ("setup", path), message
    if given.spec.objective.temperature_ratio != 1 and all(
        catalogue.ignores_temperature(name, 0.0 if given.is_always("objective.alpha", 0) else 1.0)
        for name in names
    ):
        yield tuple(ratio.split(".")), f"does nothing {beside}. Leave it out."
