"""The names that a spec may use, and what each takes.

Plain data, so that a misspelt name is found without importing torch.
"""

import ast
import re
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias, get_args

_CIFAR_RESNETS = tuple(f"resnet{depth}" for depth in (8, 14, 20, 32, 44, 56, 110))
CIFAR_ARCHITECTURES = (
    *_CIFAR_RESNETS,
    *("resnet8x4", "resnet32x4", "resnet18", "resnet50"),
    *("wrn_16_1", "wrn_16_2", "wrn_40_1", "wrn_40_2"),
    *("vgg8", "vgg11", "vgg13", "vgg16", "vgg19"),
    *("mobilenet_v2_half", "shufflenet_v1", "shufflenet_v2"),
)
_SIZED_FAMILIES = re.compile(r"(convnet|mlp)(_[1-9]\d*)+|vit_[1-9]\d*_[1-9]\d*")
_FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_EXTRAS = {"timm": "timm", "hf": "transformers"}  # the optional package behind a scheme, and our extra's name

TORCHVISION_DATASETS = (
    *("CIFAR10", "CIFAR100", "Caltech101", "Caltech256", "Country211", "DTD", "EMNIST"),
    *(
        "EuroSAT",
        "FER2013",
        "FGVCAircraft",
        "FashionMNIST",
        "Flowers102",
        "Food101",
        "GTSRB",
    ),
    *("ImageNet", "Imagenette", "KMNIST", "MNIST", "OxfordIIITPet", "PCAM", "QMNIST"),
    *("RenderedSST2", "SEMEION", "STL10", "SUN397", "SVHN", "StanfordCars", "USPS"),
)
DATASETS = ("digits", "imagefolder", *TORCHVISION_DATASETS)


class OptimizerFacts(NamedTuple):
    """What the code must know of an optimizer beside its steps.

    Args:
        takes: What it takes beside `lr` and `weight_decay`, by the names of a spec's section.
        keeps: Tensors of the parameters' size that it keeps; a `momentum` above 0 adds one.
    """

    takes: tuple[str, ...]
    keeps: int


# Each objective's own options; the temperature and alpha belong to all of them.
OBJECTIVES: dict[str, tuple[str, ...]] = {
    "kd": ("student_temperature", "divergence"),
    "dkd": ("alpha", "beta", "warmup_epochs"),
    "dist": ("beta", "gamma"),
    "logit_standardization": ("base",),
    "nkd": ("gamma",),
    "mlkd": (),
    "ctkd": ("theta", "loops"),
    "mse": (),
    "entropy_rule": ("target",),
    "max_logit_rule": ("ratio",),
}
# The limit at T to infinity, one that learns its own, and two that compute it for each example.
WITHOUT_TEMPERATURE = ("mse", "ctkd", "entropy_rule", "max_logit_rule")
STANDARDIZABLE = ("kd", "dkd", "mlkd")  # what logit_standardization may wrap
DIVERGENCES = ("forward", "reverse", "jeffreys", "js")  # of the soft targets and the student
WORDS = {"base": STANDARDIZABLE, "divergence": DIVERGENCES}  # the options that are no numbers
_SHARES, _FACTORS = ("target",), ("ratio",)  # the options between 0 and 1, and those above 0
TEMPERATURE_SHAPES = ("geometric", "linear", "cosine", "step")  # of a temperature that moves within a run
USUAL_TEMPERATURES = (1.0, 40.0)  # the ends of the range that studies usually search
OPTIMIZERS = {
    "sgd": OptimizerFacts(takes=("momentum", "nesterov"), keeps=0),
    "adam": OptimizerFacts(takes=("beta1", "beta2"), keeps=2),
    "adamw": OptimizerFacts(takes=("beta1", "beta2"), keeps=2),
    "rmsprop": OptimizerFacts(takes=("momentum",), keeps=1),
    "lion": OptimizerFacts(takes=("beta1", "beta2"), keeps=1),
}
SCHEDULES = ("constant", "cosine", "step", "one_cycle")
Sampler: TypeAlias = Literal["auto", "profile", "tpe", "gp", "random", "qmc", "grid"]
Pruner: TypeAlias = Literal["hopeless", "median", "asha", "wilcoxon", "none"]
PRUNERS: tuple[str, ...] = get_args(Pruner)


LIBRARIES = ("torchvision", "timm", "hf")
"""What stands before the colon where a name is a library's model, and not a user's own."""


def is_factory(name: str) -> bool:
    """Return whether a name is `package.module:factory`, a user's own.

    A model of a library is none.
    """
    return bool(_FACTORY.fullmatch(name)) and name.partition(":")[0] not in LIBRARIES


def takes_texts(arch: str) -> bool:
    """Return whether an architecture may be one for texts: of `hf:` or of a user."""
    return is_factory(arch) or arch.startswith("hf:")


def problem_with_architecture(name: str) -> str | None:
    """Return what is wrong with an architecture's name, else None."""
    scheme, _, rest = name.partition(":")
    if scheme == "torchvision" and rest:
        return _problem_with_torchvision_model(rest)
    if scheme in _EXTRAS and rest:
        package = _EXTRAS[scheme]
        if find_spec(package) is None:
            return f"needs {package} for {name!r}. Install it: pip install 'kdsearch-hpo[{scheme}]'."
        return None
    known = name in CIFAR_ARCHITECTURES or _SIZED_FAMILIES.fullmatch(name)
    if known or _FACTORY.fullmatch(name):
        return None
    families = "convnet_8_16, mlp_64_32 and vit_64_4 (any widths)"
    others = "torchvision:NAME, timm:NAME, hf:NAME or package.module:factory"
    return (
        f"must be a known architecture, got {name!r}.{_suggestion(name, CIFAR_ARCHITECTURES)} "
        f"Known: {', '.join(CIFAR_ARCHITECTURES)}, {families}, {others}."
    )


def problem_with_dataset(name: str) -> str | None:
    """Return what is wrong with a data set's name, else None."""
    if name in DATASETS or _FACTORY.fullmatch(name):
        return None
    return (
        f"must be a known data set, got {name!r}.{_suggestion(name, DATASETS)} "
        f"Known: {', '.join(DATASETS)}, or package.module:factory."
    )


def options_of(objective: str, base: str) -> tuple[str, ...] | None:
    """Return the options of an objective, with those of its `base`.

    Only an objective that wraps another has a base. None where the objective is a user's.
    """
    own = OBJECTIVES.get(objective)
    return (*own, *OBJECTIVES[base]) if own and "base" in own else own


def problem_with_option(name: str, value: float) -> str | None:
    """Return what is wrong with a numeric option. None where it may be."""
    if name in _SHARES and not 0 < value < 1:
        return f"must be between 0 and 1, got {value:g}. Take 0.5, say."
    if name in _FACTORS and not value > 0:
        return f"must be above 0, got {value:g}. Take 1, say."
    return None


def ignores_temperature(objective: str, alpha: float) -> bool:
    """Return whether `objective.temperature` is known to have no effect.

    What a user's own objective does with it is not known here.
    """
    return alpha == 0 or objective in WITHOUT_TEMPERATURE


def problem_with_name(kind: str, name: str, known: tuple[str, ...]) -> str | None:
    """Return what is wrong with a name from a short list. None where it is known."""
    if name in known or _FACTORY.fullmatch(name):
        return None
    suggestion = _suggestion(name, known)
    return f"must be a known {kind}, got {name!r}.{suggestion} Known: {', '.join(known)}."


def _suggestion(name: str, known: tuple[str, ...]) -> str:
    by_lower = {candidate.lower(): candidate for candidate in known}
    close = get_close_matches(name.lower(), list(by_lower), n=1)
    return f" Did you mean {by_lower[close[0]]!r}?" if close else ""


def _problem_with_torchvision_model(name: str) -> str | None:
    known = _torchvision_models()
    if not known or name in known:
        return None
    return f"must be a torchvision model, got {name!r}.{_suggestion(name, known)}"


@cache
def _torchvision_models() -> tuple[str, ...]:
    """Return torchvision's classification models, read from its sources without importing it."""
    package = find_spec("torchvision")
    if package is None or package.origin is None:
        return ()
    sources = sorted((Path(package.origin).parent / "models").glob("*.py"))
    return tuple(sorted({name for source in sources for name in _registered_models(source)}))


def _registered_models(source: Path) -> list[str]:
    functions = [n for n in ast.parse(source.read_text()).body if isinstance(n, ast.FunctionDef)]
    return [f.name for f in functions if any("register_model" in ast.dump(d) for d in f.decorator_list)]
