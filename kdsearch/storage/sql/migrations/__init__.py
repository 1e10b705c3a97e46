"""The history of kdsearch's tables, for alembic.

A new revision begins from what `kdsearch.storage.sql.tables` has and a database at the last one has not:

    from alembic import command
    from kdsearch.storage import open_database
    from kdsearch.storage.sql.schema import alembic_config

    with open_database("sqlite:////tmp/empty.db", create=True).write() as connection:
        command.revision(alembic_config(connection), "what it does", autogenerate=True, rev_id="r0002")
"""
