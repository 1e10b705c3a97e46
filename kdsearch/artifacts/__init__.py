"""The artifact store: files made once, checked when they are read, in a folder or at a URL."""
