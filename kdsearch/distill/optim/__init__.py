"""Optimizers of packs, and learning-rate schedules."""
