"""Distillation objectives: one meaning each, for one student or for a pack of K."""

from kdsearch.distill.objectives.closed_form import kd_with_cross_entropy
from kdsearch.distill.objectives.registry import (
    OBJECTIVES,
    DistillationTerm,
    PackTerm,
    at_least_float32,
    objective,
    pack_term,
)
from kdsearch.distill.objectives.softened import Term, learned_temperature

__all__ = [
    "OBJECTIVES",
    "DistillationTerm",
    "PackTerm",
    "Term",
    "at_least_float32",
    "kd_with_cross_entropy",
    "learned_temperature",
    "objective",
    "pack_term",
]
