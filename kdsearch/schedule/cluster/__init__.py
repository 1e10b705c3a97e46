"""The Ray cluster of a study."""
