"""Distillation objectives: one meaning each, for one student or for a pack of K."""

from kdsearch.distill.objectives.closed_form import ClosedForm, KDTargets
from kdsearch.distill.objectives.moving import temperature_in
from kdsearch.distill.objectives.own import OwnTerm
from kdsearch.distill.objectives.registry import (
    OBJECTIVES,
    DistillationTerm,
    PackTerm,
    at_least_float32,
    objective,
    pack_term,
    words_in,
)
from kdsearch.distill.objectives.softened import Term, learned_temperature, standardized

__all__ = [
    "OBJECTIVES",
    "ClosedForm",
    "DistillationTerm",
    "KDTargets",
    "OwnTerm",
    "PackTerm",
    "Term",
    "at_least_float32",
    "learned_temperature",
    "objective",
    "pack_term",
    "standardized",
    "temperature_in",
    "words_in",
]
