"""How answers are shown: figures, tables, words, and the report in one file."""
