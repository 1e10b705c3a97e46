"""The values of a study file: what each kind of them may be, and in which words another is refused."""

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from kdsearch.intervals import LARGEST_LOSS
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
    """Refuse what pydantic would read as a boolean: 1 as `true`, and texts such as `no`."""
    if info.context == ASKED and not isinstance(value, bool):
        raise ValueError(f"must be true or false, got {value!r}.")
    return value


def _truth_or_auto(value: Any) -> Any:
    if value == "auto" or isinstance(value, bool):
        return value
    raise ValueError(f"must be auto, true or false, got {value!r:.40}.")


def _truth_or_list(value: Any, info: ValidationInfo) -> Any:
    if info.context == ASKED and isinstance(value, str | int | float) and not isinstance(value, bool):
        raise ValueError(f"must be true or false or a list, got {value!r}.")
    return value


def _no_truth(value: Any, info: ValidationInfo) -> Any:
    """Refuse `true`, which pydantic would read as 1."""
    if info.context == ASKED and isinstance(value, bool):
        raise ValueError(f"must be a number, got {value!r}.")
    return value


def _count_or_fraction(size: float) -> float:
    if not math.isfinite(size):
        raise ValueError(f"must be a finite number, got {size}.")
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
    if info.context == ASKED and regret > LARGEST_LOSS:
        raise ValueError(
            f"must be an accuracy of at most {LARGEST_LOSS:g}, ten points, got {regret:g}. Divide points by "
            "100."
        )
    return regret


def _auto_or_number(value: object) -> object:
    if isinstance(value, str) and value != "auto":
        raise ValueError(f"must be auto or a number, got {value!r}.")
    return value


def unit(name: str) -> Any:
    """Say in a value's JSON schema what it counts."""
    return Field(json_schema_extra={"unit": name})


_Number = BeforeValidator(_numeric)
Scalar: TypeAlias = Annotated[bool | int | float | str | None, AfterValidator(_finite)]
Option: TypeAlias = Annotated[float | str, BeforeValidator(_no_truth), AfterValidator(_finite)]
Flag: TypeAlias = Annotated[bool, BeforeValidator(_truth)]
Automatic: TypeAlias = Annotated[Literal["auto"] | bool, BeforeValidator(_truth_or_auto)]
Number: TypeAlias = Annotated[float, Field(allow_inf_nan=False), _Number]
Count: TypeAlias = Annotated[int, Field(ge=0, le=LARGEST_WHOLE), _Number]
PositiveCount: TypeAlias = Annotated[int, Field(ge=1, le=LARGEST_COLUMN), _Number]
Several: TypeAlias = Annotated[int, Field(ge=2, le=LARGEST_COLUMN), _Number]
Fraction: TypeAlias = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False), _Number]
Temperature: TypeAlias = Annotated[float, Field(gt=0.0, allow_inf_nan=False), _Number]
MiddleTemperature: TypeAlias = Annotated[Temperature, BeforeValidator(_one_temperature)]
NonNegative: TypeAlias = Annotated[float, Field(ge=0.0, allow_inf_nan=False), _Number]
Positive: TypeAlias = Annotated[float, Field(gt=0.0, allow_inf_nan=False), _Number]
Loss: TypeAlias = Annotated[Positive, AfterValidator(_accuracy)]
BelowOne: TypeAlias = Annotated[float, Field(ge=0.0, lt=1.0, allow_inf_nan=False), _Number]
Size: TypeAlias = Annotated[int | float, _Number, AfterValidator(_count_or_fraction)]
GpusOrAuto: TypeAlias = Annotated[
    Annotated[NonNegative, AfterValidator(_shareable), unit("GPUs")] | Literal["auto"],
    BeforeValidator(_auto_or_number),
]
TruthOrNames: TypeAlias = Annotated[bool | tuple[str, ...], BeforeValidator(_truth_or_list)]


def _refuse(problem: Callable[[str], str | None]) -> AfterValidator:
    def check(name: str) -> str:
        if message := problem(name):
            raise ValueError(message)
        return name

    return AfterValidator(check)


def _known(kind: str, names: tuple[str, ...]) -> AfterValidator:
    return _refuse(lambda name: catalogue.problem_with_name(kind, name, names))


_FACTORY = "package.module:name"
Architecture = Annotated[
    str,
    _refuse(catalogue.problem_with_architecture),
    Field(examples=["convnet_8_16", "resnet20", "torchvision:NAME", "timm:NAME", "hf:NAME", _FACTORY]),
]
DatasetName = Annotated[
    str,
    _refuse(catalogue.problem_with_dataset),
    Field(examples=["digits", "imagefolder", "CIFAR100", _FACTORY]),
]
OptimizerName = Annotated[
    str, _known("optimizer", tuple(catalogue.OPTIMIZERS)), Field(examples=[*catalogue.OPTIMIZERS, _FACTORY])
]
ScheduleName = Annotated[
    str, _known("schedule", catalogue.SCHEDULES), Field(examples=[*catalogue.SCHEDULES, _FACTORY])
]
ObjectiveName = Annotated[
    str, _known("objective", tuple(catalogue.OBJECTIVES)), Field(examples=[*catalogue.OBJECTIVES, _FACTORY])
]
