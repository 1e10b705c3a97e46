"""The study spec: read from YAML, checked once, frozen. Imports pydantic and nothing heavier."""

from kdsearch.spec.claims import Claim
from kdsearch.spec.loading import (
    load_spec,
    load_stored_spec,
    parse_assignment,
    parse_level,
    parse_levels,
    spec_document,
    study_schema,
)
from kdsearch.spec.space import (
    TEMPERATURE,
    Choices,
    Params,
    Range,
    Setup,
    encode_level,
    is_level,
    level_label,
    level_name,
    setup_key,
)
from kdsearch.spec.study import ENOUGH_TRIALS, StudySpec, TrainingSpec

__all__ = [
    "ENOUGH_TRIALS",
    "TEMPERATURE",
    "Choices",
    "Claim",
    "Params",
    "Range",
    "Setup",
    "StudySpec",
    "TrainingSpec",
    "encode_level",
    "is_level",
    "level_label",
    "level_name",
    "load_spec",
    "load_stored_spec",
    "parse_assignment",
    "parse_level",
    "parse_levels",
    "setup_key",
    "spec_document",
    "study_schema",
]
