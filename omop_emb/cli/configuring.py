"""The command that writes configurations."""

import json
from typing import Any

import click

from omop_emb.configuration import configure as write
from omop_emb.database import connect


def json_object(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """Check an option that must be a JSON object."""
    if value is not None:
        try:
            parsed = json.loads(value)
        except ValueError as error:
            raise click.BadParameter(f"not JSON: {error}") from error
        if not isinstance(parsed, dict):
            raise click.BadParameter("must be a JSON object")
    return value


def names(_: click.Context, __: click.Parameter, value: str | None) -> list[str] | None:
    """Split a comma-separated option."""
    return None if value is None else [part.strip() for part in value.split(",") if part.strip()]


@click.command()
@click.argument("name")
@click.option("--api-base", help="Base URL of an OpenAI-compatible API, as the database server sees it.")
@click.option(
    "--further-api-bases",
    callback=names,
    help="Base URLs of more endpoints with the same model, comma-separated: requests go to all in turn.",
)
@click.option("--model", help="Model name sent to the endpoint.")
@click.option("--dimensions", type=int, help="Length of the vectors; default: asked of the endpoint.")
@click.option("--document-prefix", help="Put before texts that are indexed, verbatim.")
@click.option("--query-prefix", help="Put before texts that are searched for, verbatim.")
@click.option("--document-params", callback=json_object, help="JSON merged into document requests.")
@click.option("--query-params", callback=json_object, help="JSON merged into query requests.")
@click.option("--api-key-name", help="Name of the environment variable of the server that holds the API key.")
@click.option("--batch-size", type=int, help="Texts per request.")
@click.option("--timeout-ms", type=int, help="Longest wait for one request, its retries included.")
@click.option("--max-retries", type=int, help="Further tries after a failed request.")
@click.option("--distance", type=click.Choice(["cosine", "l2", "l1", "inner_product"]))
@click.option("--storage", type=click.Choice(["vector", "halfvec"]))
@click.option("--hnsw-m", type=int)
@click.option("--hnsw-ef-construction", type=int)
@click.option("--hnsw-ef-search", type=int)
@click.option("--synonyms/--no-synonyms", default=None, help="Whether synonyms are indexed too.")
@click.option(
    "--mapped-terms/--no-mapped-terms",
    default=None,
    help="Whether names of non-standard concepts are indexed too, as terms of what they map to.",
)
@click.option("--standard-only/--no-standard-only", default=None, help="Index standard concepts only.")
@click.option("--include-invalid/--no-include-invalid", default=None, help="Index invalid concepts too.")
@click.option("--domains", callback=names, help="Index these domains only, comma-separated.")
@click.option("--vocabularies", callback=names, help="Index these vocabularies only, comma-separated.")
@click.option("--concept-classes", callback=names, help="Index these concept classes only, comma-separated.")
@click.option(
    "--lexical-fallback/--no-lexical-fallback",
    default=None,
    help="Answer from words, marked as such, while the endpoint is down.",
)
@click.option(
    "--partial-indexes",
    callback=names,
    help="What gets HNSW indexes per value: domain_id, vocabulary_id, comma-separated; '' for none.",
)
@click.option(
    "--immediate-rows",
    type=int,
    help="Index at once, in the writer's transaction, when a statement changes at most so many concepts; 0: never.",
)
@click.option("--discard-vectors", is_flag=True, help="Throw away its vectors, so that any setting can change.")
@click.pass_obj
def configure(dsn: str | None, /, name: str, discard_vectors: bool, **settings: Any) -> None:
    """Add the configuration NAME, or change the settings given.

    Prefixes not given for a new configuration come from OMOP_EMB_DOCUMENT_EMBEDDING_PREFIX and
    OMOP_EMB_QUERY_EMBEDDING_PREFIX, else, like the params, from what is known of the model's family.
    """
    notes: list[str] = []
    warnings: list[str] = []
    with connect(dsn) as connection:
        row = write(
            connection, name, settings, discard_vectors=discard_vectors, note=notes.append, warn=warnings.append
        )
    state = "active" if row["is_active"] else "not active"
    click.echo(
        f"configuration {name!r} ({state}): model {row['model']}, {row['dimensions']} dimensions,"
        f" {row['distance']} distance\n"
        f"  document prefix {row['document_prefix']!r}, query prefix {row['query_prefix']!r}"
    )
    if row["document_params"] or row["query_params"]:
        click.echo(
            f"  document params {json.dumps(row['document_params'])}, query params {json.dumps(row['query_params'])}"
        )
    for note in notes:
        click.echo(f"  {note}")
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
