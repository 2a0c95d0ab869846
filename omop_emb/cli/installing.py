"""The commands that install and remove the package."""

import click

from omop_emb import __version__, install


@click.command()
@click.option("--cdm-schema", help="Schema with the OMOP vocabulary; default: the last one, else the only one.")
@click.option("--sql", "as_sql", is_flag=True, help="Print the script for psql instead of running it.")
@click.option("--vector-schema", default="public", show_default=True, help="With --sql: schema of pgvector.")
@click.option("--trigram-schema", default="public", show_default=True, help="With --sql: schema of pg_trgm.")
@click.option("--from-revision", default="base", show_default=True, help="With --sql: revision of the database.")
@click.pass_obj
def migrate(
    dsn: str | None,
    cdm_schema: str | None,
    as_sql: bool,
    vector_schema: str,
    trigram_schema: str,
    from_revision: str,
) -> None:
    """Install or upgrade everything, in one transaction.

    Needs a superuser, and plpython3u, pgvector and pg_trgm on the server. Running it again changes nothing; run it
    after the vocabulary tables were dropped and created again.
    """
    if as_sql:
        if cdm_schema is None:
            raise click.UsageError("--sql asks no database: say where the vocabulary is with --cdm-schema")
        click.echo(install.migration_script(cdm_schema, vector_schema, trigram_schema, from_revision), nl=False)
        return
    done = install.migrate(dsn, cdm_schema)
    what = {None: "installed", done.revision: "is up to date"}.get(done.revision_before, "upgraded")
    click.echo(
        f"omop_emb {__version__} {what} (schema revision {done.revision}) for the vocabulary in {done.cdm_schema}"
    )


@click.command()
@click.confirmation_option("--yes", prompt="This removes omop_emb and every stored vector from the database. Continue?")
@click.pass_obj
def uninstall(dsn: str | None) -> None:
    """Remove everything this package made, leaving the vocabulary as it was."""
    for warning in install.uninstall(dsn):
        click.echo(f"warning: {warning}", err=True)
    click.echo("omop_emb removed")
