"""Networks by name."""

from kdsearch.distill.models.build import build_model
from kdsearch.distill.models.heads import adapt_input_channels, head_name, head_of

__all__ = ["adapt_input_channels", "build_model", "head_name", "head_of"]
