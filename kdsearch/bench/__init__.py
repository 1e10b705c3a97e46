"""Benchmarks: `python -m kdsearch.bench`."""
