"""The artifact store: files made once and checked when they are read."""
