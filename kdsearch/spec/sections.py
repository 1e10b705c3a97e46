"""The sections of a study spec: one frozen model each, refusing unknown keys."""

import math
import shlex
from collections.abc import Callable, Iterator, Mapping
from string import Formatter
from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from kdsearch.spec import catalogue
from kdsearch.spec.bounds import LARGEST_COLUMN, LARGEST_WHOLE

ASKED = {"asked": True}
"""The context in which a user's values are validated; what earlier versions took is read without it."""


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"must be a finite number, got {value}.")
    if isinstance(value, int) and abs(value) > LARGEST_WHOLE:
        raise ValueError(f"must be at most {LARGEST_WHOLE} in size, got {value!s:.20}….")
    return value


def _numeric(value: Any, info: ValidationInfo) -> Any:
    """Refuse what pydantic would read as a number: `true` as 1, and a text of digits."""
    if info.context == ASKED and isinstance(value, bool | str):
        raise ValueError(f"must be a number, got {value!r}.")
    return value


def _truth(value: Any, info: ValidationInfo) -> Any:
    """Refuse the texts that pydantic would read as true or false, such as `no` and `on`."""
    if info.context == ASKED and isinstance(value, str):
        raise ValueError(f"must be true or false, got {value!r}.")
    return value


def _truth_or_list(value: Any, info: ValidationInfo) -> Any:
    if info.context == ASKED and isinstance(value, str):
        raise ValueError(f"must be true or false or a list, got {value!r}.")
    return value


def _no_truth(value: Any, info: ValidationInfo) -> Any:
    """Refuse `true`, which pydantic would read as 1."""
    if info.context == ASKED and isinstance(value, bool):
        raise ValueError(f"must be a number, got {value!r}.")
    return value


def _count_or_fraction(size: float) -> float:
    if (isinstance(size, int) and 1 <= size <= LARGEST_WHOLE) or 0 < size < 1:
        return size
    raise ValueError(f"must be a count of at least 1 or a fraction between 0 and 1, got {size!s:.20}.")


def _shareable(gpus: float, info: ValidationInfo) -> float:
    if info.context == ASKED and gpus > 1 and not gpus.is_integer():
        raise ValueError(f"must be a fraction of one GPU or a whole number of them, got {gpus:g}.")
    return gpus


def _one_temperature(value: Any) -> Any:
    """Refuse the ends of a temperature that moves: what is searched and answered is its middle."""
    if not isinstance(value, Mapping):
        return value
    ends = [value.get(key) for key in ("from", "to")]
    known = [end for end in ends if isinstance(end, int | float) and not isinstance(end, bool) and end > 0]
    asked = "`temperature_ratio`, the last epoch's by the first's"
    if len(known) == 2:
        middle = math.sqrt(known[0] * known[1])
        asked = f"`temperature_ratio: {known[1] / known[0]:g}`, here around {middle:.3g}"
    shape = value.get("shape")
    asked += f", and `temperature_shape: {shape}`" if shape in catalogue.TEMPERATURE_SHAPES else ""
    raise ValueError(
        f"must be a number, got {{{', '.join(map(str, value))}}}. A temperature that moves within a run is "
        f"searched by its middle: write {asked}."
    )


def _accuracy(regret: float, info: ValidationInfo) -> float:
    if info.context == ASKED and regret > 1:
        raise ValueError(f"must be an accuracy of at most 1, got {regret:g}. Divide points by 100.")
    return regret


_Number = BeforeValidator(_numeric)
Scalar: TypeAlias = Annotated[bool | int | float | str | None, AfterValidator(_finite)]
Option: TypeAlias = Annotated[float | str, BeforeValidator(_no_truth), AfterValidator(_finite)]
Flag: TypeAlias = Annotated[bool, BeforeValidator(_truth)]
Number: TypeAlias = Annotated[float, _Number]
Count: TypeAlias = Annotated[int, Field(ge=0, le=LARGEST_WHOLE), _Number]
PositiveCount: TypeAlias = Annotated[int, Field(ge=1, le=LARGEST_COLUMN), _Number]
Fraction: TypeAlias = Annotated[float, Field(ge=0.0, le=1.0), _Number]
Temperature: TypeAlias = Annotated[float, Field(gt=0.0, allow_inf_nan=False), _Number]
NonNegative: TypeAlias = Annotated[float, Field(ge=0.0, allow_inf_nan=False), _Number]
Positive: TypeAlias = Annotated[float, Field(gt=0.0, allow_inf_nan=False), _Number]
BelowOne: TypeAlias = Annotated[float, Field(ge=0.0, lt=1.0), _Number]
Size: TypeAlias = Annotated[int | float, _Number, AfterValidator(_count_or_fraction)]
Gpus: TypeAlias = Annotated[NonNegative, AfterValidator(_shareable)]


def _refuse(problem: Callable[[str], str | None]) -> AfterValidator:
    def check(name: str) -> str:
        if message := problem(name):
            raise ValueError(message)
        return name

    return AfterValidator(check)


def _known(kind: str, names: tuple[str, ...]) -> AfterValidator:
    return _refuse(lambda name: catalogue.problem_with_name(kind, name, names))


Architecture = Annotated[str, _refuse(catalogue.problem_with_architecture)]
DatasetName = Annotated[str, _refuse(catalogue.problem_with_dataset)]
OptimizerName = Annotated[str, _known("optimizer", catalogue.OPTIMIZERS)]
ScheduleName = Annotated[str, _known("schedule", catalogue.SCHEDULES)]
ObjectiveName = Annotated[str, _known("objective", tuple(catalogue.OBJECTIVES))]


class Section(BaseModel):
    """A frozen part of the spec that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Dataset(Section):
    """The images or texts, their labels and how they are split.

    `train_size` and `validation_size` are counts, or fractions of the data set's training part;
    the validation split is taken from the training part, stratified, by `split_seed`. `skip_bad` leaves
    images out that can't be read, which are refused otherwise. `kind: text` says that a user's factory gives
    token ids and attention masks.
    """

    name: DatasetName = "digits"
    train_size: Size | None = None
    validation_size: Size = 0.1
    labels: str = "fine"
    root: str | None = None
    download: Flag = False
    image_size: PositiveCount | None = None
    split_seed: Count = 0
    skip_bad: bool = False
    kind: Literal["image", "text"] = "image"

    @property
    def unsaid(self) -> set[str]:
        """The settings that decide no data; `kind` is among them for images, which came before it."""
        return {"download", "skip_bad"} | ({"kind"} if self.kind == "image" else set())

    @model_validator(mode="after")
    def _texts_are_a_users(self) -> "Dataset":
        if self.kind == "image":
            return self
        if not catalogue.is_factory(self.name):
            raise ValueError(
                f"must name package.module:factory beside `kind: text`, got `name: {self.name}`. It gives "
                "token ids and attention masks."
            )
        for name in ("image_size", "skip_bad"):
            if getattr(self, name):
                raise ValueError(f"must have no `{name}` beside `kind: text`: it is of images. Remove it.")
        return self


class Augment(Section):
    """The random views of the training images; 0 or false switches a part off."""

    crop_padding: Count = 0
    flip: Flag = False
    cutout: Count = 0
    color_jitter: Fraction = 0.0
    mixup: NonNegative = 0.0
    cutmix: NonNegative = 0.0


class Pretraining(Section):
    """Where weights come from: exactly one of published weights, a checkpoint, or training here.

    Training here takes `dataset` and `epochs`; `finetune_epochs` then trains on the study's own
    data set (for a student's initialisation; a teacher has its own `finetune` section), at a tenth
    of the learning rate. `root` falls back to the study's own. How is trained has the values of
    `Finetune`; `optimizer` and `lr` that are not given suit the architecture.
    """

    weights: str | None = None
    checkpoint: str | None = None
    dataset: DatasetName | None = None
    epochs: PositiveCount | None = None
    finetune_epochs: Count = 0
    root: str | None = None
    optimizer: OptimizerName | None = None
    lr: Positive | None = None
    momentum: BelowOne | None = None
    weight_decay: NonNegative | None = None
    batch_size: PositiveCount | None = None
    schedule: ScheduleName | None = None

    @property
    def training(self) -> dict[str, Any]:
        """What is said about training here, as values of `Finetune`."""
        names = ("optimizer", "lr", "momentum", "weight_decay", "batch_size", "schedule")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    @model_validator(mode="after")
    def _one_source(self) -> "Pretraining":
        sources = [s for s in (self.weights, self.checkpoint, self.epochs) if s is not None]
        if len(sources) != 1 or (self.dataset is not None and self.epochs is None):
            raise ValueError(
                "must name exactly one source: {weights: NAME}, {checkpoint: PATH} "
                "or {dataset: NAME, epochs: N}."
            )
        if self.root is not None and self.dataset is None:
            raise ValueError("needs a `dataset` beside `root`.")
        if self.training and not (self.epochs or self.finetune_epochs):
            raise ValueError(f"needs `epochs` beside `{next(iter(self.training))}`: nothing is trained here.")
        return self


class Preprocessing(Section):
    """What a network is fed with: the mean and deviation that normalise its images, and their size.

    One value stands for all channels. What is left out is as published weights were made, else the data's
    own; `size: data` is the data's even so. `crop` is the middle part of a side that is seen, as of an
    evaluation that resizes to 256 pixels and cuts out 224: 0.875.
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    size: PositiveCount | Literal["data"] | None = None
    crop: Positive | None = None

    @model_validator(mode="after")
    def _fits_images(self) -> "Preprocessing":
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and (len(values) not in (1, 3) or not all(map(math.isfinite, values))):
                raise ValueError(f"`{name}` must be a list of 1 or 3 numbers, got {list(values)}.")
        if self.std is not None and min(self.std) <= 0:
            raise ValueError(f"`std` must be above 0, got {list(self.std)}.")
        if self.crop is not None and self.crop > 1:
            raise ValueError(f"`crop` must be at most 1, the whole side, got {self.crop:g}.")
        return self


def _refuse_unpublished(preprocessing: Any, source: Any) -> None:
    is_published = isinstance(source, Pretraining) and source.weights is not None
    if preprocessing == "weights" and not is_published:
        raise ValueError(
            "`preprocessing` must be data, auto or {mean, std, size} where no published weights are used, "
            "got 'weights'."
        )


class Student(Section):
    """The network that is trained; `init: {epochs: N}` starts from a target-trained one."""

    arch: Architecture = "convnet_8_16"
    init: Literal["random"] | Pretraining = "random"
    stem: Literal["standard", "small"] = "standard"
    preprocessing: Literal["auto", "data", "weights"] | Preprocessing = "auto"

    @model_validator(mode="after")
    def _weights_are_published(self) -> "Student":
        _refuse_unpublished(self.preprocessing, self.init)
        return self


class Finetune(Section):
    """How the teacher is trained on the study's data set.

    `epochs: 0` leaves the body as it was pretrained; `head_epochs` first trains a new linear head
    on the frozen body.
    """

    epochs: Count = 20
    head_epochs: Count = 0
    optimizer: OptimizerName = "sgd"
    lr: Positive = 0.1
    momentum: BelowOne = 0.9
    weight_decay: NonNegative = 5.0e-4
    batch_size: PositiveCount = 64
    schedule: ScheduleName = "cosine"
    label_smoothing: BelowOne = 0.0


class Teacher(Section):
    """The frozen network that gives the soft targets."""

    arch: Architecture = "convnet_32_64_128"
    pretraining: Literal["none"] | Pretraining = "none"
    finetune: Finetune = Finetune()
    stem: Literal["standard", "small"] = "standard"
    preprocessing: Literal["auto", "data", "weights"] | Preprocessing = "auto"
    seed: Count = 0

    @model_validator(mode="after")
    def _weights_are_published(self) -> "Teacher":
        _refuse_unpublished(self.preprocessing, self.pretraining)
        return self

    @model_validator(mode="after")
    def _pretraining_names_a_dataset(self) -> "Teacher":
        source = self.pretraining
        if isinstance(source, Pretraining) and source.epochs is not None and source.dataset is None:
            raise ValueError("`pretraining` must name a `dataset` beside `epochs`.")
        if isinstance(source, Pretraining) and source.finetune_epochs:
            raise ValueError("`pretraining.finetune_epochs` is a student's; use `finetune.epochs`.")
        return self


class Objective(Section):
    """The distillation loss: `alpha * term + (1 - alpha) * cross-entropy`.

    `temperature` divides both nets' logits; `options` are the term's own weights. Of
    `logit_standardization`, the option `base` names what it wraps, whose options it takes as well; of
    `kd`, `divergence` names how far apart the softened distributions are: forward (the default), reverse,
    jeffreys or js.

    `temperature_ratio` moves the temperature from epoch to epoch: it is the last epoch's by the first's, and
    `temperature` is the geometric mean of the two. `temperature_shape` says how it gets there.
    """

    name: ObjectiveName = "kd"
    temperature: Annotated[Temperature, BeforeValidator(_one_temperature)] = 4.0
    temperature_ratio: Positive = 1.0
    temperature_shape: Literal["geometric", "linear", "cosine", "step"] = "geometric"
    alpha: Fraction = 0.9
    options: dict[str, Option] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _options_belong_to_the_objective(self) -> "Objective":
        base = self.options.get("base", "kd")
        for option, value in self.options.items():
            words = catalogue.WORDS.get(option)
            if words and value not in words:
                raise ValueError(f"`options.{option}` must be one of {', '.join(words)}, got {value!r}.")
            if isinstance(value, str) and not words:
                raise ValueError(f"`options.{option}` must be a number, got {value!r}.")
        allowed = catalogue.options_of(self.name, str(base))
        unknown = [] if allowed is None else sorted(set(self.options) - set(allowed))
        if unknown:
            known = ", ".join(allowed or ()) or "none"
            raise ValueError(f"`options.{unknown[0]}` is not an option of {self.name!r}. Known: {known}.")
        for option, value in self.options.items() if allowed else ():
            if not isinstance(value, str) and (problem := catalogue.problem_with_option(option, value)):
                raise ValueError(f"`options.{option}` {problem}")
        return self


class Optimizer(Section):
    """The student's optimizer, with torch.optim's meaning of every value.

    `momentum` belongs to sgd and rmsprop, `beta1` and `beta2` to adam, adamw and lion, which torch does
    not have and whose authors take 0.99 for `beta2`.
    """

    name: OptimizerName = "sgd"
    lr: Positive = 0.1
    momentum: BelowOne = 0.9
    weight_decay: NonNegative = 5.0e-4
    nesterov: Flag = False
    beta1: BelowOne = 0.9
    beta2: BelowOne = 0.999

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> "Optimizer":
        if self.nesterov and self.name == "sgd" and self.momentum == 0.0:
            raise ValueError("`nesterov` needs a `momentum` above 0.")
        return self


Luck: TypeAlias = Literal["views", "order", "split"]
"""What the trials of a study may draw anew, pack by pack, beside each student's own initialisation."""


class Training(Section):
    """How long and how the student is trained; the clip norm is per student, in gradient norm.

    `view_seed` and `order_seed` fix the views and the order of batches, as `dataset.split_seed` fixes the
    split. What `vary` names is drawn anew for each pack, the split among `splits` of them.
    """

    epochs: PositiveCount = 20
    batch_size: PositiveCount = 64
    schedule: ScheduleName = "cosine"
    warmup_epochs: Count = 0
    milestones: tuple[Fraction, ...] = (0.5, 0.75)
    gamma: Fraction = 0.1
    clip_norm: Positive | None = None
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: Flag = False
    cuda_graphs: Flag = False
    view_seed: Count = 0
    order_seed: Count = 0
    vary: tuple[Luck, ...] = ()
    splits: Annotated[PositiveCount, Field(ge=2)] = 4  # a fifth to a third of the setup's replicates each

    @field_validator("vary")
    @classmethod
    def _once_each(cls, vary: tuple[Luck, ...]) -> tuple[Luck, ...]:
        """Return what varies in one order: lists that say the same are the same study."""
        if len(set(vary)) < len(vary):
            raise ValueError(f"must not name a luck twice, got {list(vary)}.")
        return tuple(luck for luck in get_args(Luck) if luck in vary)

    @model_validator(mode="after")
    def _warmup_is_shorter(self) -> "Training":
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"`warmup_epochs` must be below `epochs`, got {self.warmup_epochs} and {self.epochs}."
            )
        return self


class CommandTrainer(Section):
    """A program that trains one student: one call for each trial.

    `{PATH}` stands for a value of the trial by its dotted path, `{seed}`, `{number}` and `{epochs}` for its
    own, `{trial}` for a JSON text of them all. A text is split as a shell would, but no shell reads it.
    """

    command: str | tuple[str, ...]

    def fill(self, value_of: Callable[[str], str]) -> list[str]:
        """Return the words of the command, each `{NAME}` replaced by its value."""
        return ["".join(self._parts(word, value_of)) for word in self.words]

    @property
    def words(self) -> list[str]:
        """The program and its arguments, nothing filled in."""
        return shlex.split(self.command) if isinstance(self.command, str) else list(self.command)

    @property
    def names(self) -> list[str]:
        """What the command asks for in braces."""
        asked = (name for word in self.words for _, name, _, _ in Formatter().parse(word))
        return [name for name in asked if name is not None]

    @model_validator(mode="after")
    def _can_be_read(self) -> "CommandTrainer":
        try:
            parsed = [part for word in self.words for part in Formatter().parse(word)]
        except ValueError as error:
            raise ValueError(
                f"must be a command that a shell could split, with {{PATH}} for values, got {self.command!r} "
                f"({error}). Write {{{{ and }}}} for braces of its own."
            ) from error
        if not self.words:
            raise ValueError(f"must name a program, got {self.command!r}.")
        if any(name is not None and (form or change or not name) for _, name, form, change in parsed):
            raise ValueError(f"must have plain {{PATH}} for values, got {self.command!r}.")
        return self

    @staticmethod
    def _parts(word: str, value_of: Callable[[str], str]) -> Iterator[str]:
        for literal, name, _, _ in Formatter().parse(word):
            yield literal
            if name is not None:
                yield value_of(name)


class Stop(Section):
    """When a setup is decided: its recommendation is expected to lose at most `regret` of accuracy."""

    regret: Annotated[Positive, AfterValidator(_accuracy)] | None = None


class Search(Section):
    """How many trials are spent, and by what rule; `pack` trials share a process.

    Once teachers and packs have taken `gpu_hours` or `cpu_hours`, or the study has been run
    for `hours`, earlier runs included, no new pack is started; those that run are finished.
    `widen` lets ranges grow at whose end a best value lies: those of all parameters but the temperature, or
    of those that are named.
    `warm_start` names studies of the same database whose trials tell the profile sampler where to begin.
    """

    trials: PositiveCount = 96
    hours: Positive | None = None
    gpu_hours: Positive | None = None
    cpu_hours: Positive | None = None
    sampler: Literal["auto", "profile", "tpe", "gp", "random", "qmc", "grid"] = "auto"
    pruner: Literal["hopeless", "median", "asha", "wilcoxon", "none"] = "hopeless"
    pack: PositiveCount = 8
    seed: Count = 0
    warm_start: tuple[str, ...] = ()
    widen: Annotated[bool | tuple[str, ...], BeforeValidator(_truth_or_list)] = False
    stop: Stop = Stop()

    @model_validator(mode="after")
    def _warm_start_has_a_model(self) -> "Search":
        if self.warm_start and self.sampler not in ("auto", "profile"):
            raise ValueError(f"`warm_start` needs the sampler profile, got {self.sampler!r}.")
        return self


class Resources(Section):
    """What one pack occupies; fractions of a GPU let several packs share it.

    A pack that reports no epoch for `stall_minutes` is killed; the state of a pack in training is
    saved every `checkpoint_minutes`, where 0 means after each epoch.
    """

    cpus_per_pack: Positive = 1
    gpus_per_pack: Gpus = 0
    stall_minutes: Positive | None = None
    checkpoint_minutes: NonNegative = 0.5


def leaves_of(section: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    """Return every leaf's dotted path below a section, with its annotation."""
    leaves: dict[str, Any] = {}
    for name, info in section.model_fields.items():
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            leaves |= leaves_of(kind, f"{prefix}{name}.")
        else:
            leaves[prefix + name] = kind
    return leaves
