"""What is believed of accuracy over setups and tuned parameters: observations, model, draws."""
