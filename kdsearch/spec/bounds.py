"""How much may come in from outside."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from kdsearch.errors import RequestError

MOST_BYTES = 262_144
"""Of a file that people write, by hand; the quickstart's study has 700."""

MOST_NODES = 10_000
"""Of keys, values and items in one document, by hand; a study of 1,000 levels has 2,000."""

MOST_DEPTH = 20
"""Of lists and mappings in one another, by hand; a study needs 5."""

MOST_CHARACTERS = 1_000
"""Of one value on a command line or in a URL; by hand, far above any level or path."""

LARGEST_COLUMN = 2**31 - 1
"""What a whole number of our tables may be: PostgreSQL's `integer`."""

LARGEST_WHOLE = 2**63 - 1
"""What a whole number may be at all: the `bigint` of both databases."""

_SHOWN = 60  # characters of a value in a message, by hand: enough to recognise it in one line


class BoundedYaml(yaml.SafeLoader):
    """Refuses, while it reads, YAML of small text and huge value.

    A base of YAML loaders. Anchors and aliases let 400 characters stand for gigabytes; nothing that kdsearch
    reads needs them.
    """

    _nodes = 0
    _depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose one node, within the bounds."""
        event = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs have no types here
        self._nodes += 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            self._refuse(
                "anchors and aliases (`&`, `*`) are not read: write the value out, or quote it", event
            )
        if self._nodes > MOST_NODES:
            self._refuse(f"it has more than {MOST_NODES:,} values", event)
        if self._depth > MOST_DEPTH:
            self._refuse(f"lists and mappings lie more than {MOST_DEPTH} deep", event)
        if problem := problem_in_text(getattr(event, "value", "")):
            self._refuse(problem, event)
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def fetch_flow_collection_start(self, token: Any) -> None:
        """Begin a list or mapping in brackets. The scanner reads far ahead of what is composed."""
        if self.flow_level > MOST_DEPTH:
            raise yaml.MarkedYAMLError(
                problem=f"lists and mappings lie more than {MOST_DEPTH} deep", problem_mark=self.get_mark()
            )
        super().fetch_flow_collection_start(token)

    def _refuse(self, problem: str, event: Any) -> None:
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)


def problem_in_text(text: Any) -> str | None:
    """Return why a database could not hold a text. None where it can."""
    if not isinstance(text, str):
        return None
    if "\0" in text:
        return "a text must not hold the character NUL"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "a text must not hold half a character (a surrogate)"
    return None


def problem_in_document(document: Any) -> str | None:
    """Return why a document of plain values is not read. None where it is within the bounds."""
    waiting, seen = [(document, 0)], 0
    while waiting:
        value, depth = waiting.pop()
        seen += 1
        if seen > MOST_NODES:
            return f"it has more than {MOST_NODES:,} values"
        if depth > MOST_DEPTH:
            return f"lists and mappings lie more than {MOST_DEPTH} deep"
        if problem := problem_in_text(value):
            return problem
        below: Sequence[Any] = ()
        if isinstance(value, Mapping):
            below = [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple):
            below = value
        waiting += [(item, depth + 1) for item in below]
    return None


def read_text_file(path: Path, what: str) -> str:
    """Return the text of a file that people write.

    Args:
        path: The file.
        what: What it is, for the message.

    Raises:
        RequestError: It can't be read, is no text or is too large.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        text = content.decode("utf-8-sig")
    except (OSError, ValueError) as error:  # a path with NUL is a ValueError
        reason = getattr(error, "strerror", None) or "it is no UTF-8 text; save it as UTF-8"
        raise RequestError(f"{what} {path} can't be read: {reason}.") from error
    if len(content) > MOST_BYTES:
        raise RequestError(f"{what} {path} can't be read: it is larger than {MOST_BYTES // 1024} KiB.")
    return text


def shown(value: Any) -> str:
    """Return a value for a message, shortened where it is long."""
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
