"""Packs: K students trained side by side, looped or fused into one computation."""

from kdsearch.distill.packs.choice import (
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
from kdsearch.distill.packs.content import content_of
from kdsearch.distill.packs.dropout import draws_globally, key_dropout
from kdsearch.distill.packs.executor import Executor, MemberLoss
from kdsearch.distill.packs.fused import FusedPack
from kdsearch.distill.packs.graphed import GraphedStep
from kdsearch.distill.packs.looped import LoopedPack
from kdsearch.distill.packs.precision import Precision

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
