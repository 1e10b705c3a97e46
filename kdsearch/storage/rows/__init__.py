"""A study's rows: written step by step, read as plain values."""
