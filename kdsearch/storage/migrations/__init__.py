"""The history of kdsearch's tables, for alembic."""
