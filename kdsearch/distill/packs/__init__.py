"""Packs: K students trained side by side, looped or fused into one computation."""

from kdsearch.distill.packs.executor import Executor, MemberLoss
from kdsearch.distill.packs.looped import LoopedPack

__all__ = ["Executor", "LoopedPack", "MemberLoss"]
