"""The database: its engine, tables and their versions."""
