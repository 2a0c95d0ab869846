"""Alembic environment: runs on the connection (or the output buffer) that ``omop_emb.install`` hands over."""

from alembic import context

attributes = context.config.attributes
options = {"version_table_schema": "omop_emb", "target_metadata": None}

if context.is_offline_mode():
    context.configure(
        dialect_name="postgresql",
        # The default paramstyle doubles every percent sign of the script.
        dialect_opts={"paramstyle": "named"},
        transactional_ddl=False,
        **options,
    )
else:
    # The caller owns the transaction, the lock and the schema.
    context.configure(connection=attributes["connection"], transactional_ddl=False, **options)
context.run_migrations()
