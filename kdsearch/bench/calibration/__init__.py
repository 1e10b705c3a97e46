"""Checks of answers against truths that they were not built on.

These are shapes from outside, really trained students, and the quickstart.
"""
