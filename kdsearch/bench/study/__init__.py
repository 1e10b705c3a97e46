"""How many trials a minute a study gets, and what scheduling costs."""
