"""The Ray cluster of a study: found or started, asked for room, left behind clean."""
