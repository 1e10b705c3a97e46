"""How good samplers, pruners and answers are, against known truths."""
