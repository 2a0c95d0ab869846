"""Alembic environment: runs on the connection (or the output buffer) that ``omop_emb.install`` hands over."""

from alembic import context

if context.is_offline_mode():
    context.configure(
        dialect_name="postgresql",
        # The default paramstyle doubles every percent sign of the script.
        dialect_opts={"paramstyle": "named"},
        version_table_schema="omop_emb",
        transactional_ddl=False,
    )
else:
    # The caller owns the transaction, the lock and the schema.
    context.configure(
        connection=context.config.attributes["connection"],
        version_table_schema="omop_emb",
        transactional_ddl=False,
    )
context.run_migrations()
