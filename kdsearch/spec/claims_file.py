"""Claims from a file of their own, about an existing study."""

from pathlib import Path

from kdsearch.errors import SpecError
from kdsearch.spec.bounds import read_text_file
from kdsearch.spec.claims import Claim
from kdsearch.spec.loading import load_spec, spec_document
from kdsearch.spec.study import StudySpec
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
    try:
        return load_spec({**spec_document(spec), "claims": document["claims"]}).claims
    except SpecError as error:
        raise SpecError(error.problems, str(path)) from error
