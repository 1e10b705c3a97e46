"""The training of a pack: its members, loss, steps, checkpoints and measures."""
