"""The weights that networks start from: checkpoint files and what publishers offer."""
