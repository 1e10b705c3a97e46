"""Checks whether a GPU trains correctly and fast enough."""
