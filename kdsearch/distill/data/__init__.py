"""Data sets: where samples come from, what they must look like, how they are split."""
