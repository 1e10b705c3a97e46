"""Packs: K students trained side by side, looped, on streams or fused into one computation."""

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
    recorder_of,
    way_problem,
)
from kdsearch.distill.execution.content import content_of, has_convolutions, is_foreign, remembers
from kdsearch.distill.execution.cuda import recorder_on
from kdsearch.distill.execution.dropout import draws_globally, key_dropout
from kdsearch.distill.execution.executor import Executor, MemberLoss
from kdsearch.distill.execution.fused import FusedPack
from kdsearch.distill.execution.looped import LoopedPack
from kdsearch.distill.execution.precision import Precision
from kdsearch.distill.execution.recording import WARM_UP_CALLS, Recorder, Replayed
from kdsearch.distill.execution.streamed import StreamedPack

__all__ = [
    "WARM_UP_CALLS",
    "Choice",
    "ChoiceMemory",
    "Executor",
    "FusedPack",
    "LoopedPack",
    "MemberLoss",
    "PackPlan",
    "Precision",
    "Recorder",
    "Replayed",
    "StreamedPack",
    "Way",
    "content_of",
    "device_name",
    "draws_globally",
    "fusing_problem",
    "has_convolutions",
    "is_foreign",
    "key_dropout",
    "measured_choice",
    "measured_seconds",
    "possible_ways",
    "preferred",
    "recorder_of",
    "recorder_on",
    "remembers",
    "way_problem",
]
