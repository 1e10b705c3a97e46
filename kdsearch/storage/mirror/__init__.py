"""Optuna's half of a study, which follows our rows."""
