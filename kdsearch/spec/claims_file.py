"""Claims from a file of their own, about an existing study."""

from pathlib import Path

from pydantic import ValidationError

from kdsearch.errors import SpecError
from kdsearch.spec.bounds import read_text_file
from kdsearch.spec.claims import Claim, idle_claims, problems_in_claims
from kdsearch.spec.problems import Problem, problems_in_validation
from kdsearch.spec.sections import Section
from kdsearch.spec.study import StudySpec
from kdsearch.spec.values import ASKED
from kdsearch.spec.yaml_text import NotYamlError, read_yaml


def load_claims(path: Path, spec: StudySpec) -> tuple[Claim, ...]:
    """Return the claims of a YAML file, checked against a study's space.

    The file has a list `claims`.

    Raises:
        SpecError: There is no such list, or a claim asks for what the study does not have.
    """
    try:
        document = read_yaml(read_text_file(path, "The file of claims")).value
    except NotYamlError as error:
        raise SpecError([f"line {error.line}: not valid YAML: {error.problem}."], str(path)) from error
    if not isinstance(document, dict) or not document.get("claims"):
        raise SpecError(["must have a list `claims`. See docs/claims.md for one."], str(path))
    if unknown := [str(key) for key in document if key not in StudySpec.model_fields]:
        raise SpecError(
            [f"`{unknown[0]}` is not a known key. Write it into a claim, or leave it out."], str(path)
        )
    try:
        claims = _Claims.model_validate({"claims": document["claims"]}, context=ASKED).claims
        judged = spec.model_copy(update={"claims": claims})
        problems = [Problem(*place) for place in (*problems_in_claims(judged), *idle_claims(judged))]
    except ValidationError as error:
        problems = problems_in_validation(error)
    if problems:
        raise SpecError([problem.text(line=None) for problem in problems], str(path))
    return claims


class _Claims(Section):
    """Claims alone: the study around them was checked when it was stored."""

    claims: tuple[Claim, ...]
