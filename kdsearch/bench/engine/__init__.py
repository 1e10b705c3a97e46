"""How fast the engine trains."""
