"""Networks by name."""

from kdsearch.distill.models.build import build_model

__all__ = ["build_model"]
