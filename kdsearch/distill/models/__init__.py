"""Networks by name."""

from kdsearch.distill.models.build import build_model, is_unvetted, is_users, layout_of
from kdsearch.distill.models.channels import adapt_input_channels
from kdsearch.distill.models.heads import head_modules, head_parameters, head_tensors

__all__ = [
    "adapt_input_channels",
    "build_model",
    "head_modules",
    "head_parameters",
    "head_tensors",
    "is_unvetted",
    "is_users",
    "layout_of",
]
