"""The distillation engine: teachers, students and the packs that train them. Needs torch alone."""

from kdsearch.distill.members import Member
from kdsearch.distill.models import build_model
from kdsearch.distill.objectives import objective
from kdsearch.distill.training import train_pack

__all__ = ["Member", "build_model", "objective", "train_pack"]
