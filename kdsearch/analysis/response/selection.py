"""Which setups a question is about."""

from collections.abc import Mapping, Sequence
from typing import Any

from kdsearch.errors import RequestError
from kdsearch.spec import Setup, is_level, level_label, level_name


def select_setups(setups: Sequence[Setup], where: Mapping[str, Any] | None) -> list[int]:
    """Return the indices of the setups that have the asked levels.

    Raises:
        RequestError: A factor or a level does not belong to the study.
    """
    chosen = list(range(len(setups)))
    for path, level in (where or {}).items():
        check_factor(setups, path, "where")
        if not any(is_level(path, level, setup[path]) for setup in setups):
            levels = dict.fromkeys(level_name(path, setup[path]) for setup in setups)
            raise RequestError(
                f"`where` must name a level of {path}, got {level_label(level)!r}. "
                f"Levels: {', '.join(levels)}."
            )
        chosen = [s for s in chosen if is_level(path, level, setups[s][path])]
    return chosen


def group_setups(
    setups: Sequence[Setup], chosen: Sequence[int], by: Sequence[str] | None
) -> list[tuple[Setup, list[int]]]:
    """Return the chosen setups, grouped by their levels of some factors.

    Each is alone where `by` is None.

    Raises:
        RequestError: A factor does not belong to the study.
    """
    if by is None:
        return [(setups[s], [s]) for s in chosen]
    for path in by:
        check_factor(setups, path, "by")
    groups: dict[tuple[str, ...], tuple[Setup, list[int]]] = {}
    for s in chosen:
        levels = {path: setups[s][path] for path in by}
        groups.setdefault(tuple(map(level_label, levels.values())), (levels, []))[1].append(s)
    return list(groups.values())


def check_factor(setups: Sequence[Setup], path: str, option: str) -> None:
    """Raise RequestError unless a path is a factor of the setups."""
    if path not in setups[0]:
        known = ", ".join(setups[0]) or "none"
        raise RequestError(f"`{option}` must be a factor of the study, got {path!r}. Factors: {known}.")
