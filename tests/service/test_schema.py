"""The API keeps what its OpenAPI document says.

It does so whatever is asked; Schemathesis asks.
"""

import json
from importlib.metadata import version

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from kdsearch.service.openapi import ADDRESSES, openapi_document

if tuple(map(int, version("rich").split(".")[:2])) < (13, 9):
    pytest.skip("schemathesis needs rich 13.9", allow_module_level=True)
schemathesis = pytest.importorskip("schemathesis", reason="needs schemathesis")
checks = pytest.importorskip("schemathesis.specs.openapi.checks")

API = "/kdsearch/v1"
DOCUMENT = openapi_document(API, "0")
KNOWN = {
    "by": "optimizer.name",
    "factor": "optimizer.name",
    "name": "demo",
    "set": "optimizer.name=sgd",
    "study": "demo",
    "where": "optimizer.name=sgd",
}
VALID, INVALID = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE
EXAMPLES = 8  # requests for each route and method, by hand: the suite has no time for more
LONGEST = 2_000  # characters, each of at most twelve in an address; longer ones have a test of their own
ALWAYS = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]


def of_known_names() -> dict:
    """Return the document whose only texts are those of the study: others are never answered."""
    document = json.loads(json.dumps(DOCUMENT))  # a copy in which no two parameters share a schema
    for operations in document["paths"].values():
        for parameter in operations["get"]["parameters"]:
            if parameter["name"] in KNOWN:
                schema = parameter["schema"].get("items", parameter["schema"])
                schema.clear()
                schema["const"] = KNOWN[parameter["name"]]
    return document


def asked(*, known: bool, paths: list[str], mode=VALID) -> list:
    schema = schemathesis.openapi.from_dict(of_known_names() if known else DOCUMENT)
    return [pytest.param(schema[path]["GET"], mode, id=path) for path in paths]


def ask(client, case):
    """Return what the service answers to a case."""
    request = case.as_transport_kwargs(base_url=f"{client.base_url}{API}")
    assume(len(str(request["params"])) < LONGEST)
    return client.get(request["url"], params=request["params"])


few = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)
TAKING = [path for path, address in ADDRESSES.items() if address.parameters]
BOUND = ("/studies/{name}/trials", "/studies/{name}/compare")
"""Where parameters depend on each other: `offset` on `limit`, the levels to compare on `where`."""


@pytest.mark.parametrize(("operation", "mode"), asked(known=True, paths=list(ADDRESSES)))
@few
@given(data=st.data())
def test_what_the_study_has_is_answered_as_described(client, operation, mode, data):
    case = data.draw(operation.as_strategy(generation_mode=mode))
    must_answer = [] if operation.path in BOUND else [checks.positive_data_acceptance]
    case.validate_response(ask(client, case), checks=[*ALWAYS, *must_answer])


@pytest.mark.parametrize(("operation", "mode"), asked(known=False, paths=["/studies/{name}", *TAKING]))
@few
@given(data=st.data())
def test_any_text_is_answered_or_refused_as_described(client, operation, mode, data):
    fixed = {"name": "demo"} if operation.path in TAKING else None
    case = data.draw(operation.as_strategy(generation_mode=mode, path_parameters=fixed))
    case.validate_response(ask(client, case), checks=ALWAYS)


@pytest.mark.parametrize(("operation", "mode"), asked(known=False, paths=TAKING, mode=INVALID))
@few
@given(data=st.data())
def test_what_the_document_does_not_allow_is_refused(client, operation, mode, data):
    fixed = {"name": "demo"} if "{name}" in operation.path else None
    case = data.draw(operation.as_strategy(generation_mode=mode, path_parameters=fixed))
    case.validate_response(ask(client, case), checks=[*ALWAYS, checks.negative_data_rejection])
