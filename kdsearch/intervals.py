"""How wide intervals are and how near is near enough, by default."""

LEVEL = 0.9
"""The probability of an interval: 95% would take nearly half as many trials again for the same width."""

TOLERANCE = 0.005
"""Half a point of accuracy: what a temperature may lose and be called near-optimal."""
