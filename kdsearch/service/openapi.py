"""The JSON addresses as a table, for requests and for OpenAPI."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from kdsearch.analysis.report.figures.document import STUDY_FIGURES
from kdsearch.intervals import LARGEST_LOSS, LEVELS, SMALLEST_REGRET
from kdsearch.storage.rows.read import TrialState

MOST_TRIALS = 10_000
"""In one answer, about 5 MB; a longer list must be asked for in parts, so that none is taken for whole."""

STATES: tuple[str, ...] = get_args(TrialState)
_LONGEST = 2_000
"""By hand: a level may be a recipe, and a URL ends at some 8,000 characters."""


@dataclass(frozen=True)
class Address:
    """One address of the API.

    Attributes:
        summary: What it answers.
        keys: What every answer has, or each of its items has: names with spaces between them.
        parameters: The parameters that it takes.
        required: Those of them without which it is no question.
        is_list: Whether the answer is a list.
        headers: The headers of an answer that belong to it, with what they tell.
    """

    summary: str
    keys: str
    parameters: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    is_list: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


_STUDY = (
    "study state reason setups trials finished complete pruned diverged failed running waiting "
    "created updated driver"
)
_TRIAL = (
    "number state reason setup params seed epochs val_accuracy test_accuracy val_loss train_loss "
    "teacher_entropy student_entropy teacher_agreement seconds device pack"
)

ADDRESSES: Mapping[str, Address] = {
    "/health": Address("Whether the database can be read", "status studies"),
    "/studies": Address("The studies", _STUDY, is_list=True),
    "/studies/{name}": Address("One study's state and progress", _STUDY),
    "/studies/{name}/best": Address(
        "The best temperature of each setup",
        "study state metric level tolerance setups",
        ("by", "where", "level", "tolerance"),
    ),
    "/studies/{name}/compare": Address(
        "Whether the best temperature depends on a factor",
        "study factor level levels pairs probability reason",
        ("factor", "where", "level"),
        ("factor",),
    ),
    "/studies/{name}/forecast": Address(
        "What is decided, and what the rest needs", "study target setups", ("where", "regret")
    ),
    "/studies/{name}/importance": Address(
        "What accuracy depends on", "study level tuned factors reason", ("where", "level")
    ),
    "/studies/{name}/figures": Address(
        "The figures of the study's page as data; with `kind`, that one alone",
        "kind title caption layout x y parts keys",
        ("kind", "level", "tolerance"),
        is_list=True,
    ),
    "/studies/{name}/trials": Address(
        f"Trials by number; without `limit` all, of at most {MOST_TRIALS:,}. `Link` leads to the next part",
        _TRIAL,
        ("limit", "offset", "state"),
        is_list=True,
        headers={"X-Total-Count": "How many there are; given with `limit`", "Link": "The next part"},
    ),
    "/studies/{name}/verdict": Address(
        "What the study says of the claims written with it", "study written digest verdicts"
    ),
    "/recommend": Address(
        "The temperature for a setup that need not have been run",
        "setup level trials temperature interval near_optimal params sources reason",
        ("set", "study", "level", "tolerance"),
        ("set",),
    ),
    "/teachers": Address(
        "The teachers", "digest recipe path val_accuracy test_accuracy created studies", is_list=True
    ),
    "/openapi.json": Address("This document", "openapi info servers paths"),
}

_TEXT = {"type": "string", "maxLength": _LONGEST}
_TEXTS = {"type": "array", "items": _TEXT}
_LEVELS = {"type": "array", "items": {**_TEXT, "pattern": "^[^=]+="}, "uniqueItems": True}
_SCHEMAS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "by": ("Averaged over all factors but these; PATH, or several with commas", _TEXTS),
    "where": ("Only setups with this level, as PATH=VALUE", _LEVELS),
    "set": ("A level of the setup, as PATH=VALUE", {**_LEVELS, "minItems": 1}),
    "study": ("Only from this study's trials", _TEXTS),
    "factor": ("The factor whose levels are compared, as PATH", _TEXT),
    "kind": ("Which figure", {"type": "string", "enum": [*STUDY_FIGURES]}),
    "level": ("Probability of the intervals", {"type": "number", "minimum": LEVELS[0], "maximum": LEVELS[1]}),
    "tolerance": ("What counts as near the best", {"type": "number", "minimum": 0, "maximum": LARGEST_LOSS}),
    "regret": (
        "The loss at which a setup is decided",
        {"type": "number", "minimum": SMALLEST_REGRET, "maximum": LARGEST_LOSS},
    ),
    "limit": ("At most so many", {"type": "integer", "minimum": 1, "maximum": MOST_TRIALS}),
    "offset": (
        "So many are left out before; only beside `limit`",
        {"type": "integer", "minimum": 0, "maximum": 10**9},
    ),
    "state": ("Only those in this state; only beside `limit`", {"type": "string", "enum": [*STATES]}),
}
_REFUSALS = {
    "400": "The host's name is none of this service's",
    "401": "The token is missing or wrong",
    "404": "There is no such study, or it has nothing like it yet",
    "414": "The address is too long",
    "422": "A parameter is wrong",
    "503": "It can't be answered now, or not within the bounds",
}
_ERROR = {
    "type": "object",
    "properties": {"error": {"type": "string"}},
    "required": ["error"],
    "additionalProperties": False,
}
_NAME = {"type": "string", "minLength": 1, "maxLength": 100, "pattern": "^[^/]+$"}


def openapi_document(prefix: str, version: str) -> dict[str, Any]:
    """Return the OpenAPI document of the addresses below a prefix."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "kdsearch",
            "version": version,
            "description": "Reads studies: the same documents as the commands' `--format json`.",
        },
        "servers": [{"url": prefix}],
        "paths": {path: {"get": _operation(path, address)} for path, address in ADDRESSES.items()},
    }


def _operation(path: str, address: Address) -> dict[str, Any]:
    named = {"name": "name", "in": "path", "required": True, "schema": _NAME}
    asked = [_parameter(name, required=name in address.required) for name in address.parameters]
    return {
        "summary": address.summary,
        "operationId": path.strip("/").replace("/", "_").replace("{name}", "one").replace(".", "_"),
        "parameters": [*([named] if "{name}" in path else []), *asked],
        "responses": {
            "200": _answer(address),
            **{status: _refusal(text) for status, text in _REFUSALS.items()},
        },
    }


def _answer(address: Address) -> dict[str, Any]:
    document = {"type": "object", "required": address.keys.split()}
    schema = {"type": "array", "items": document} if address.is_list else document
    headers = {
        name: {"description": text, "schema": {"type": "string"}} for name, text in address.headers.items()
    }
    content = {"application/json": {"schema": schema}}
    return {"description": "The answer", "content": content, **({"headers": headers} if headers else {})}


def _parameter(name: str, *, required: bool) -> dict[str, Any]:
    description, schema = _SCHEMAS[name]
    return {"name": name, "in": "query", "description": description, "required": required, "schema": schema}


def _refusal(description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": _ERROR}}}
