"""The HTTP service: an explorer page, JSON, and the Optuna dashboard, all read-only."""

from kdsearch.service.app import build_app
from kdsearch.service.server import run

__all__ = ["build_app", "run"]
