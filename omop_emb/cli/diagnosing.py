"""The command that says what is wrong."""

import json
from dataclasses import asdict

import click

from omop_emb.cli.options import as_json
from omop_emb.database import connect
from omop_emb.doctor import Finding, diagnose

COLOURS = {"ok": "green", "note": "blue", "warning": "yellow", "problem": "red"}


@click.command()
@click.option("--no-endpoint", is_flag=True, help="Do not ask the endpoints of the configurations.")
@as_json
@click.pass_obj
def doctor(dsn: str | None, no_endpoint: bool, as_json: bool) -> None:
    """Say what is wrong with this database and what to do; exits with 1 on a problem.

    The endpoints are asked by the database server, with five short texts each.
    """
    found: list[Finding] = []
    with connect(dsn, autocommit=True) as connection:
        for finding in diagnose(connection, endpoint=not no_endpoint):
            found.append(finding)
            if not as_json:
                show(finding)
    counts = {level: sum(finding.level == level for finding in found) for level in ("problem", "warning")}
    if as_json:
        click.echo(json.dumps({**counts, "findings": [asdict(finding) for finding in found]}, ensure_ascii=False))
    else:
        click.echo(", ".join(f"{count} {level}{'' if count == 1 else 's'}" for level, count in counts.items()))
    if counts["problem"]:
        raise click.exceptions.Exit(1)


def show(finding: Finding) -> None:
    """Print a finding, and below it what to do."""
    where = f"{finding.check} of {finding.config!r}" if finding.config is not None else finding.check
    level = click.style(f"{finding.level:8}", fg=COLOURS[finding.level])
    click.echo(f"{level} {where}: {finding.message}")
    if finding.advice:
        click.echo(f"{'':8} -> {finding.advice}")
