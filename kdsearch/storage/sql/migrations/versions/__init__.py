"""One module a revision; none imports the live tables."""
