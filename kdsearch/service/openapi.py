"""The JSON addresses as a table, from which requests are read and the OpenAPI document is written."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from kdsearch.analysis.report.figures.document import STUDY_FIGURES
from kdsearch.storage.rows.read import TrialState

MOST_TRIALS = 10_000
"""In one answer, about 5 MB; a longer list must be asked for in parts, so that none is taken for whole."""

STATES: tuple[str, ...] = get_args(TrialState)
_LONGEST = 2_000


@dataclass(frozen=True)
class Address:
    """One address of the API: what it answers, and the parameters that it takes."""

    summary: str
    parameters: tuple[str, ...] = ()
    required: tuple[str, ...] = ()


ADDRESSES: Mapping[str, Address] = {
    "/health": Address("Whether the database can be read"),
    "/studies": Address("The studies"),
    "/studies/{name}": Address("One study's state and progress"),
    "/studies/{name}/best": Address(
        "The best temperature of each setup", ("by", "where", "level", "tolerance")
    ),
    "/studies/{name}/compare": Address(
        "Whether the best temperature depends on a factor", ("factor", "where", "level"), ("factor",)
    ),
    "/studies/{name}/forecast": Address("What is decided, and what the rest needs", ("where", "regret")),
    "/studies/{name}/figures": Address(
        "The figures of the study's page as data; with `kind`, that one", ("kind", "level", "tolerance")
    ),
    "/studies/{name}/importance": Address("What accuracy depends on", ("where", "level")),
    "/studies/{name}/trials": Address(
        f"Trials by number; without `limit` all, of at most {MOST_TRIALS:,}. `Link` leads to the next part",
        ("limit", "offset", "state"),
    ),
    "/studies/{name}/verdict": Address("What the study says of the claims written with it"),
    "/recommend": Address(
        "The temperature for a setup that need not have been run",
        ("set", "study", "level", "tolerance"),
        ("set",),
    ),
    "/teachers": Address("The teachers"),
    "/openapi.json": Address("This document"),
}

_TEXT = {"type": "string", "maxLength": _LONGEST}
_TEXTS = {"type": "array", "items": _TEXT}
_SCHEMAS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "by": ("Averaged over all factors but these; PATH, or several with commas", _TEXTS),
    "where": ("Only setups with this level, as PATH=VALUE", _TEXTS),
    "set": ("A level of the setup, as PATH=VALUE", _TEXTS),
    "study": ("Only from this study's trials", _TEXTS),
    "factor": ("The factor whose levels are compared, as PATH", _TEXT),
    "kind": ("Which figure", {"type": "string", "enum": [*STUDY_FIGURES]}),
    "level": ("Probability of the intervals", {"type": "number", "minimum": 0.5, "maximum": 0.999}),
    "tolerance": ("What counts as near the best", {"type": "number", "minimum": 0, "maximum": 1}),
    "regret": ("The loss at which a setup is decided", {"type": "number", "minimum": 1e-6, "maximum": 1}),
    "limit": ("At most so many", {"type": "integer", "minimum": 1, "maximum": MOST_TRIALS}),
    "offset": ("So many are left out before", {"type": "integer", "minimum": 0, "maximum": 10**9}),
    "state": ("Only those in this state", {"type": "string", "enum": [*STATES]}),
}
_REFUSALS = {
    "404": "There is no such study",
    "422": "A parameter is wrong",
    "503": "It can't be answered now, or not within the bounds",
}
_ERROR = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}


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
    named = {"name": "name", "in": "path", "required": True, "schema": _TEXT}
    asked = [_parameter(name, required=name in address.required) for name in address.parameters]
    return {
        "summary": address.summary,
        "operationId": path.strip("/").replace("/", "_").replace("{name}", "one").replace(".", "_"),
        "parameters": [*([named] if "{name}" in path else []), *asked],
        "responses": {
            "200": {"description": "The answer", "content": {"application/json": {}}},
            **{status: _refusal(text) for status, text in _REFUSALS.items()},
        },
    }


def _parameter(name: str, *, required: bool) -> dict[str, Any]:
    description, schema = _SCHEMAS[name]
    return {"name": name, "in": "query", "description": description, "required": required, "schema": schema}


def _refusal(description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": _ERROR}}}
