"""The study spec: what is trained, over which setups, what is searched."""

import math
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import product
from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from kdsearch.seeds import drawn_seed, split_seed
from kdsearch.spec import catalogue
from kdsearch.spec.claims import Claim
from kdsearch.spec.luck import SEED_PATHS
from kdsearch.spec.sections import (
    Augment,
    CommandTrainer,
    Dataset,
    Objective,
    Optimizer,
    Resources,
    Search,
    Section,
    Student,
    Teacher,
    Training,
    leaves_of,
)
from kdsearch.spec.space import (
    ByFactor,
    Choices,
    Dimension,
    Params,
    Range,
    Setup,
    level_label,
    value_at,
    with_value,
)
from kdsearch.spec.values import Scalar

ENOUGH_TRIALS = 4
"""So many trials of a setup begin to tell something of it; fewer have no answer."""

NO_TRAINER = "kdsearch.runs:none"
"""What stands for the trainer of imported runs where none was named: they can be asked, not launched."""

RUNS_OF_FILE = "runs:file"
"""What stands for the trainer of runs that are answered as they lie in a file."""

_OPEN_PATH = re.compile(r"(objective\.)?options\.[^.]+")


def _trainer_name(name: str) -> str:
    if catalogue.problem_with_name("trainer", name, ("distill",)):
        raise ValueError(f"must be distill or package.module:function, got {name!r}.")
    return name


def _refuse_images_alone(name: str, network: Student | Teacher) -> None:
    """Refuse a network that only images can use."""
    if not catalogue.takes_texts(network.arch):
        raise ValueError(
            f"must have hf:NAME or package.module:factory as `{name}.arch` beside `dataset.kind: text`, got "
            f"{network.arch!r}, a network for images."
        )
    if network.stem != "standard" or network.preprocessing not in ("auto", "data"):
        raise ValueError(
            f"must have neither `{name}.stem` nor `{name}.preprocessing` beside `dataset.kind: text`: they "
            "are of images. Remove them."
        )


class TrainingSpec(Section):
    """Everything that decides how one student is trained, but for its seed."""

    dataset: Dataset = Dataset()
    """The images or texts, their labels and how they are split."""

    augment: Augment = Augment()
    """The random views of the training images."""

    student: Student = Student()
    """The network that is trained."""

    teacher: Teacher = Teacher()
    """The frozen network that gives the soft targets."""

    objective: Objective = Objective()
    """The distillation loss."""

    optimizer: Optimizer = Optimizer()
    """The student's optimizer."""

    training: Training = Training()
    """How long and how the student is trained."""

    trainer: Annotated[str, AfterValidator(_trainer_name)] | CommandTrainer = "distill"
    """What trains: kdsearch's engine, `package.module:function` of yours, or a command."""

    options: dict[str, Scalar] = Field(default_factory=dict)
    """Values of your own trainer by name; they may be factors or tuned."""

    @model_validator(mode="after")
    def _fits_texts(self) -> "TrainingSpec":
        if self.dataset.kind == "text" and self.trainer == "distill":
            if self.augment != Augment():
                raise ValueError("must have no `augment` beside `dataset.kind: text`: texts have no views.")
            for name, network in (("student", self.student), ("teacher", self.teacher)):
                _refuse_images_alone(name, network)
        return self

    def with_values(
        self, values: Mapping[str, Any], *, context: Mapping[str, Any] | None = None
    ) -> "TrainingSpec":
        """Return the training with the values at dotted paths replaced.

        Args:
            values: The values by dotted path.
            context: pydantic's; `ASKED` for values that nobody has checked.

        Raises:
            pydantic.ValidationError: A value does not fit its leaf.
        """
        document = {name: self._document[name] for name in TrainingSpec.model_fields}
        for path, value in values.items():
            document = with_value(document, path, value)
        return TrainingSpec.model_validate(document, context=context)

    def value_at(self, path: str) -> Any:
        """Return the value at a dotted path. Raise KeyError where there is none."""
        return value_at(self._document, path)

    @cached_property
    def _document(self) -> dict[str, Any]:
        return self.model_dump(mode="json")


class StudySpec(TrainingSpec):
    """What is trained, over which setups, and what is searched inside each."""

    # Made by `load_spec`, which checks what no single field can know.

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*$", max_length=100)]
    """The study's name in the database: letters, digits, and `_`, `.` or `-` after the first."""

    setup: dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]] = Field(default_factory=dict)
    """The factors: a list of levels for each dotted path."""

    tune: dict[str, Dimension] = Field(default_factory=dict)
    """The tuned parameters: what is searched at each dotted path."""

    claims: tuple[Claim, ...] = ()
    """What the study is to confirm, written before it runs."""

    search: Search = Search()
    """How many trials are spent, and by what rule."""

    resources: Resources = Resources()
    """What one pack occupies."""

    artifacts: str | None = None
    """Where teachers and checkpoints are: a folder or URL; else KDSEARCH_ARTIFACTS or ~/.cache/kdsearch."""

    def setups(self) -> list[Setup]:
        """Return every combination of the factors' levels, the last factor running fastest."""
        return [dict(zip(self.setup, levels, strict=True)) for levels in product(*self.setup.values())]

    @property
    def pack_size(self) -> int:
        """How many trials train together: no more than a setup's share of the budget, but enough to tell.

        A larger pack would leave other setups of a small budget without a trial.
        """
        share = -(-self.search.trials // math.prod(map(len, self.setup.values())))
        return min(self.search.pack, max(share, ENOUGH_TRIALS))

    def dimensions(self, setup: Setup) -> dict[str, Range | Choices]:
        """Return the tuned parameters of one setup, with its ranges."""
        return {path: self._dimension(path, setup) for path in self.tune}

    @property
    def has_engine_words(self) -> bool:
        """Whether its objective is the engine's of that name: a trainer of one's own may mean another.

        Of runs that were read, only a column with the whole name, `objective.name`, says an objective.
        """
        return self.trainer in ("distill", NO_TRAINER, RUNS_OF_FILE)

    @property
    def luck(self) -> tuple[str, ...]:
        """Which luck the trials differ by: the doubt of an answer includes this and no other."""
        own = "initialisation" if self.trainer == "distill" else "seed"
        return (own, *self.training.vary)

    @property
    def n_splits(self) -> int:
        """How many splits the trials share, each with teachers of its own."""
        return self.training.splits if "split" in self.training.vary else 1

    def drawn(self, draw: int) -> Params:
        """Return the seeds that a draw of luck puts in place.

        They replace the spec's own. Draw 0 of the search's seed 0 is the spec as it stands. The splits take
        turns, since each has its teachers; views and orders never come again, and are others for another
        search.

        Args:
            draw: Counts from 0 in each setup: the same draws of all setups share their luck.
        """
        seeds: Params = {}
        for luck in self.training.vary:
            first = self.value_at(SEED_PATHS[luck])
            if luck == "split":
                seeds[SEED_PATHS[luck]] = split_seed(first, self.n_splits, draw)
            else:
                seeds[SEED_PATHS[luck]] = drawn_seed(first, self.search.seed, draw)
        return seeds

    def resolve(self, setup: Setup, params: Params, draw: int | None = None) -> TrainingSpec:
        """Return how a trial of this setup with these parameters is trained.

        Args:
            setup: One of the setups.
            params: A value for each tuned parameter.
            draw: The draw of luck; None for a trial that drew none.
        """
        return self.with_values({**setup, **params, **({} if draw is None else self.drawn(draw))})

    def is_leaf(self, path: str) -> bool:
        """Return whether a dotted path may be a factor or tuned.

        It then names a single value.
        """
        if path in TRAINING_LEAVES or _OPEN_PATH.fullmatch(path):
            return True
        section, _, rest = path.partition(".")
        if not rest or section not in TrainingSpec.model_fields:
            return False
        try:
            return not isinstance(self.value_at(path), Mapping)
        except KeyError:
            return False

    def _dimension(self, path: str, setup: Setup) -> Range | Choices:
        dimension = self.tune[path]
        if isinstance(dimension, ByFactor):
            return dimension.ranges[level_label(setup[dimension.by])]
        return dimension


def _training_leaves() -> Iterator[str]:
    for path in leaves_of(TrainingSpec):
        if path not in ("trainer", "options", "objective.options"):
            yield path


TRAINING_LEAVES = frozenset(_training_leaves())
