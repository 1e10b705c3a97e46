"""What parameters are, by their names: `lr_sgd` is `lr`, a learning rate."""

import re
from collections.abc import Iterable

LEARNING_RATES = frozenset(
    {
        *("lr", "learning_rate", "learningrate", "init_lr", "initial_lr", "base_lr", "max_lr", "lr0"),
        *("optimizer_lr", "optim_lr", "student_lr", "peak_lr", "eta"),
    }
)
"""A learning rate's usual names, in small letters joined by `_`."""

_OTHER = re.compile(r"[^a-z0-9]+")
_JOINT = r"[\W_]+"
_NO_LETTER = r"(?![^\W_])"


def role_of(name: str, levels: Iterable[str]) -> str:
    """Return a parameter's name without the levels in it. All of it where nothing else is left.

    Args:
        name: The parameter's.
        levels: As people write them; capitals make no difference.

    >>> role_of("optimizer.sgd.lr", ["SGD"])
    'optimizer.lr'
    """
    role = name
    for level in map(re.escape, filter(None, levels)):
        role = re.sub(f"^{level}{_JOINT}|{_JOINT}{level}{_NO_LETTER}", "", role, flags=re.IGNORECASE)
    return role or name


def is_learning_rate(name: str) -> bool:
    """Return whether a parameter's name is that of a learning rate.

    One of some setups alone counts too, such as `lr_sgd`.

    >>> [is_learning_rate(name) for name in ("optimizer.lr", "options.lr_head", "objective.options.beta")]
    [True, True, False]
    """
    plain = _OTHER.sub("_", name.lower()).strip("_")
    return any(
        plain == rate or plain.startswith(f"{rate}_") or plain.endswith(f"_{rate}") or f"_{rate}_" in plain
        for rate in LEARNING_RATES
    )
