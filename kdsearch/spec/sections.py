"""The sections of a study spec: one frozen model each, refusing unknown keys."""

import shlex
from collections.abc import Callable, Iterator
from string import Formatter
from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from kdsearch.spec import catalogue
from kdsearch.spec.values import (
    ASKED,
    Architecture,
    Automatic,
    BelowOne,
    Count,
    DatasetName,
    Flag,
    Fraction,
    GpusOrAuto,
    Loss,
    MiddleTemperature,
    NonNegative,
    Number,
    ObjectiveName,
    OptimizerName,
    Option,
    Positive,
    PositiveCount,
    ScheduleName,
    Several,
    Size,
    TruthOrNames,
    unit,
)


class Section(BaseModel):
    """A frozen part of the spec that refuses unknown keys.

    The text below a field is its description: editors show it, and `docs/study-file.md` is made of it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


LABEL_KINDS = ("fine", "coarse")
"""What `labels` may be beside a file."""


class Dataset(Section):
    """The images or texts, their labels and how they are split."""

    name: DatasetName = "digits"
    """The data: scikit-learn's digits, a torchvision class, a folder of images, or a factory of yours."""

    train_size: Size | None = None
    """How much of the training part is used: a count, or a fraction below 1; all where none is said."""

    validation_size: Size = 0.1
    """How much of the training part is the validation split, stratified: a count, or a fraction below 1."""

    labels: str = "fine"
    """`fine`, `coarse`, or a JSON or YAML file with a line `class: its coarse class` for each class."""

    root: str | None = None
    """The folder with the files; else the one that KDSEARCH_DATA names."""

    download: Flag = False
    """Whether files that are missing may be fetched."""

    image_size: Annotated[PositiveCount, unit("pixels")] | None = None
    """The side to which images are resized; their own where none is said."""

    split_seed: Count = 0
    """Fixes the split; where splits vary, the first of them."""

    skip_bad: Flag = False
    """Whether images that can't be read are left out; else they are named and nothing starts."""

    kind: Literal["image", "text"] = "image"
    """`text`: a factory of yours gives token ids and attention masks."""

    @property
    def label_file(self) -> str | None:
        """The file that `labels` names; None where it is none."""
        return None if self.labels in LABEL_KINDS else self.labels

    @property
    def unsaid(self) -> set[str]:
        """The settings that decide no data.

        `kind` is among them for images, which came before it.
        """
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
    """The random views of the training images. 0 or false switches a part off."""

    crop_padding: Annotated[Count, unit("pixels")] = 0
    """How far images are padded before a random crop of their size."""

    flip: Flag = False
    """Whether half of the views are mirror images."""

    cutout: Annotated[Count, unit("pixels")] = 0
    """The side of a square that is cut out of each view."""

    color_jitter: Fraction = 0.0
    """The strength of random brightness, contrast and saturation."""

    mixup: NonNegative = 0.0
    """The parameter of the Beta distribution by which pairs of images are blended."""

    cutmix: NonNegative = 0.0
    """The parameter of the Beta distribution by which pieces of other images are pasted in."""


class Pretraining(Section):
    """Where weights come from: published ones, a checkpoint, or training here.

    Exactly one of `weights`, `checkpoint` and `epochs` is given.
    """

    weights: str | None = None
    """Published weights by their library's name, such as `DEFAULT`, or a revision of the Hub."""

    checkpoint: str | None = None
    """The path of a checkpoint file."""

    dataset: DatasetName | None = None
    """The data set that is trained on here; a student's own where none is said."""

    epochs: PositiveCount | None = None
    """How many epochs are trained here."""

    finetune_epochs: Count = 0
    """Epochs on the study's own data set thereafter, at a tenth of the rate; of a student alone."""

    root: str | None = None
    """The folder with the other data set; `dataset.root` where none is said."""

    optimizer: OptimizerName | None = None
    """The optimizer; else SGD for networks with BatchNorm and AdamW for the others."""

    lr: Positive | None = None
    """The learning rate; else 0.1 for SGD and 0.001 for AdamW."""

    momentum: BelowOne | None = None
    """The momentum of sgd and rmsprop; 0.9 where none is said."""

    weight_decay: NonNegative | None = None
    """The weight decay; 0.0005 where none is said."""

    batch_size: Annotated[PositiveCount, unit("images")] | None = None
    """How many images a step sees; 64 where none is said."""

    schedule: ScheduleName | None = None
    """How the learning rate changes; cosine where none is said."""

    @property
    def training(self) -> dict[str, Any]:
        """What is said about training here, as values of `Finetune`."""
        names = ("optimizer", "lr", "momentum", "weight_decay", "batch_size", "schedule")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    @model_validator(mode="after")
    def _takes_its_momentum(self, info: ValidationInfo) -> "Pretraining":
        facts = catalogue.OPTIMIZERS.get(self.optimizer or "sgd")
        if info.context == ASKED and self.momentum is not None and facts and "momentum" not in facts.takes:
            raise ValueError(f"must have no `momentum` beside `optimizer: {self.optimizer}`. Leave it out.")
        return self

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
    """What a network is fed with: what normalises its images, and their size.

    What is left out is as published weights were made, else the data's own.
    """

    mean: tuple[Number, ...] | None = None
    """The mean of pixels from 0 to 1: one value for all channels, or three."""

    std: tuple[Number, ...] | None = None
    """The deviation of pixels from 0 to 1: one value for all channels, or three."""

    size: Annotated[PositiveCount, unit("pixels")] | Literal["data"] | None = None
    """The side of its images; `data` is the data's, whatever published weights were made with."""

    crop: Positive | None = None
    """The middle part of a side that is seen, at most 1: 224 of 256 pixels are 0.875."""

    @model_validator(mode="after")
    def _fits_images(self) -> "Preprocessing":
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and len(values) not in (1, 3):
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
    """The network that is trained."""

    arch: Architecture = "convnet_8_16"
    """The student's architecture."""

    init: Literal["random"] | Pretraining = "random"
    """Where its first weights come from; `{epochs: N}` trains on this data set without a teacher."""

    stem: Literal["standard", "small"] = "standard"
    """`small` fits ImageNet models to small images."""

    preprocessing: Literal["auto", "data", "weights"] | Preprocessing = "auto"
    """What it is fed with; `auto` is `weights` where published ones are named, else `data`."""

    @model_validator(mode="after")
    def _weights_are_published(self) -> "Student":
        _refuse_unpublished(self.preprocessing, self.init)
        return self


class Finetune(Section):
    """How the teacher is trained on the study's data set."""

    epochs: Count = 20
    """How many epochs; 0 leaves the body as it was pretrained."""

    head_epochs: Count = 0
    """Epochs that first train a new linear head on the frozen body."""

    optimizer: OptimizerName = "sgd"
    """The teacher's optimizer."""

    lr: Positive = 0.1
    """The learning rate's peak."""

    momentum: BelowOne = 0.9
    """The momentum of sgd and rmsprop."""

    weight_decay: NonNegative = 5.0e-4
    """The weight decay, as in torch.optim."""

    batch_size: Annotated[PositiveCount, unit("images")] = 64
    """How many images a step sees; at most a quarter of the training images."""

    schedule: ScheduleName = "cosine"
    """How the learning rate changes over the training."""

    label_smoothing: BelowOne = 0.0
    """The share of each label that is spread over all classes."""


class Teacher(Section):
    """The frozen network that gives the soft targets."""

    arch: Architecture = "convnet_32_64_128"
    """The teacher's architecture."""

    pretraining: Literal["none"] | Pretraining = "none"
    """Where its weights come from before it is finetuned; `finetune_epochs` is a student's alone."""

    finetune: Finetune = Finetune()
    """How it is trained on the study's data set."""

    stem: Literal["standard", "small"] = "standard"
    """`small` fits ImageNet models to small images."""

    preprocessing: Literal["auto", "data", "weights"] | Preprocessing = "auto"
    """What it is fed with; `auto` is `weights` where published ones are named, else `data`."""

    seed: Count = 0
    """The teacher's own luck: its initialisation, views and order."""

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
    """The distillation loss: `alpha * term + (1 - alpha) * cross-entropy`."""

    name: ObjectiveName = "kd"
    """The distillation term; `mse`, `ctkd` and the two rules do not use the temperature."""

    temperature: MiddleTemperature = 4.0
    """Divides both nets' logits; to be tuned or a factor."""

    temperature_ratio: Positive = 1.0
    """The last epoch's temperature by the first's, around `temperature`."""

    temperature_shape: Literal["geometric", "linear", "cosine", "step"] = "geometric"
    """How a moving temperature gets from the first epoch's to the last's."""

    alpha: Fraction = 0.9
    """The weight of the distillation term; the cross-entropy has the rest."""

    options: dict[str, Option] = Field(default_factory=dict)
    """The term's own weights by name, such as `{beta: 8}` for `dkd`."""

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
    """The student's optimizer, with torch.optim's meaning of every value."""

    name: OptimizerName = "sgd"
    """The optimizer; lion's authors take a tenth of AdamW's rate and `beta2: 0.99`."""

    lr: Positive = 0.1
    """The learning rate's peak."""

    momentum: BelowOne = 0.9
    """The momentum of sgd and rmsprop."""

    weight_decay: NonNegative = 5.0e-4
    """The weight decay, as in torch.optim."""

    nesterov: Flag = False
    """Whether sgd takes Nesterov's momentum."""

    beta1: BelowOne = 0.9
    """How slowly the mean gradient of adam, adamw and lion forgets."""

    beta2: BelowOne = 0.999
    """How slowly the second moment of adam and adamw forgets, or lion's momentum."""

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> "Optimizer":
        if self.nesterov and self.name == "sgd" and self.momentum == 0.0:
            raise ValueError("`nesterov` needs a `momentum` above 0.")
        return self


Luck: TypeAlias = Literal["views", "order", "split"]
"""What the trials of a study may draw anew, pack by pack, beside each student's own initialisation."""


class Training(Section):
    """How long and how the student is trained."""

    epochs: PositiveCount = 20
    """How often the student sees the training images."""

    batch_size: Annotated[PositiveCount, unit("images")] = 64
    """How many images a step sees."""

    schedule: ScheduleName = "cosine"
    """How the learning rate changes over the training."""

    warmup_epochs: Count = 0
    """Epochs in which the learning rate rises to its peak; fewer than `epochs`."""

    milestones: tuple[Fraction, ...] = (0.5, 0.75)
    """Where `step` lowers the rate, as fractions of the training."""

    gamma: Fraction = 0.1
    """The factor by which `step` lowers the rate."""

    clip_norm: Positive | None = None
    """The largest norm of each student's gradient."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """The numbers that are computed with; `auto` is fp32 on a CPU, bf16 autocast on a GPU."""

    compile: Automatic = "auto"
    """Whether forward passes go through torch.compile; `auto` does not: it helps some networks alone."""

    cuda_graphs: Automatic = "auto"
    """Whether a GPU's steps are replayed as CUDA graphs; `auto` where they can be, `true` insists on it."""

    view_seed: Count = 0
    """Fixes the random views of the images."""

    order_seed: Count = 0
    """Fixes the order of the batches."""

    vary: tuple[Luck, ...] = ()
    """Which luck each pack draws anew, beside its students' initialisations."""

    splits: Several = 4  # a fifth to a third of the setup's replicates each
    """Among how many splits the packs take turns where `vary` names the split."""

    @field_validator("vary")
    @classmethod
    def _once_each(cls, vary: tuple[Luck, ...]) -> tuple[Luck, ...]:
        """Return what varies in one order. Lists that say the same are the same study."""
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
    """The program and its arguments, as one text or as a list of words."""

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
    """When a setup is decided, and gets no more trials."""

    regret: Loss | None = None
    """The accuracy that a decided setup's temperature is expected to lose at most, such as 0.002."""


class Search(Section):
    """How many trials are spent, and by what rule.

    Once a budget of hours is spent, earlier runs of the study included, no new pack is started; those that
    run are finished.
    """

    trials: Annotated[PositiveCount, unit("trials")] = 96
    """The budget of the whole study."""

    hours: Annotated[Positive, unit("hours")] | None = None
    """How long the study may be run, all its launches together and teachers included."""

    gpu_hours: Annotated[Positive, unit("hours")] | None = None
    """How long GPUs may be occupied by teachers and packs."""

    cpu_hours: Annotated[Positive, unit("hours")] | None = None
    """How long CPUs may be occupied by teachers and packs."""

    sampler: catalogue.Sampler = "auto"
    """What proposes the next trials; `auto` is `profile`."""

    pruner: catalogue.Pruner = "hopeless"
    """What gives trials up early."""

    pack: Annotated[PositiveCount, unit("trials")] = 8
    """How many trials train together; no more than a setup's share of the budget where that is 4 or more."""

    seed: Count = 0
    """The luck of the search and of its trials."""

    warm_start: tuple[str, ...] = ()
    """Studies of the same database whose trials say where to begin; needs the sampler `profile`."""

    widen: TruthOrNames = False
    """Whether ranges grow at whose end a best value lies, or the paths of those that may."""

    stop: Stop = Stop()
    """When a setup is decided."""

    @model_validator(mode="after")
    def _warm_start_has_a_model(self) -> "Search":
        if self.warm_start and self.sampler not in ("auto", "profile"):
            raise ValueError(f"`warm_start` needs the sampler profile, got {self.sampler!r}.")
        return self


class Resources(Section):
    """What one pack occupies."""

    cpus_per_pack: Annotated[Positive, unit("CPUs")] = 1
    """The CPUs that a pack occupies."""

    gpus_per_pack: GpusOrAuto = "auto"
    """The GPUs of a pack: a fraction is shared, 0 is the CPU, `auto` is 1 for `distill` if there are any."""

    stall_minutes: Annotated[Positive, unit("minutes")] | None = None
    """After how long without an epoch a pack is killed and run again."""

    checkpoint_minutes: Annotated[NonNegative, unit("minutes")] = 0.5
    """How often a pack in training is saved; 0 is after each epoch."""

    @property
    def gpus(self) -> float:
        """The GPUs of a pack.

        None for `auto`, before a launch has looked for some.
        """
        return 0.0 if self.gpus_per_pack == "auto" else self.gpus_per_pack

    @property
    def device(self) -> str | None:
        """Where `distill` trains: on the CPU where a pack has no GPU, though there may be one."""
        return "cpu" if self.gpus_per_pack == 0 else None


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
