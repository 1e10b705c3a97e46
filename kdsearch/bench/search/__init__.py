"""How good samplers, pruners and answers are, on studies whose truth is known."""
