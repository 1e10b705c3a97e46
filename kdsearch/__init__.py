"""kdsearch finds the best distillation temperature for each training setup."""
