"""Whether a GPU trains what it should, and as fast as it should."""
