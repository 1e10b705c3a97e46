"""Packs: K students trained side by side, looped or fused into one computation."""

from kdsearch.distill.execution.choice import (
    Choice,
    ChoiceMemory,
    PackPlan,
    Way,
    device_name,
    fusing_problem,
    measured_choice,
    measured_seconds,
    possible_ways,
    preferred,
    way_problem,
)
from kdsearch.distill.execution.content import content_of
from kdsearch.distill.execution.dropout import draws_globally, key_dropout
from kdsearch.distill.execution.executor import Executor, MemberLoss
from kdsearch.distill.execution.fused import FusedPack
from kdsearch.distill.execution.graphed import GraphedStep
from kdsearch.distill.execution.looped import LoopedPack
from kdsearch.distill.execution.precision import Precision

__all__ = [
    "Choice",
    "ChoiceMemory",
    "Executor",
    "FusedPack",
    "GraphedStep",
    "LoopedPack",
    "MemberLoss",
    "PackPlan",
    "Precision",
    "Way",
    "content_of",
    "device_name",
    "draws_globally",
    "fusing_problem",
    "key_dropout",
    "measured_choice",
    "measured_seconds",
    "possible_ways",
    "preferred",
    "way_problem",
]
