"""What is asked of a response: the best temperature, comparisons, forecasts, importance."""
