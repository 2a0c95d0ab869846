"""The commands that need no database of the user's: the bundled model and the demo."""

import click


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=8089, show_default=True, help="0 takes a free one.")
def embedder(host: str, port: int) -> None:
    """Serve the bundled model as an OpenAI-compatible API (needs the extra `local`)."""
    from omop_emb.embedder import serve  # noqa: PLC0415  the extra may not be installed

    serve(host, port)


@click.command()
@click.option("--keep", is_flag=True, help="Leave the database running at the end, until Ctrl-C.")
def demo(keep: bool) -> None:
    """Show everything on a throwaway database, with the bundled model and a real OMOP sample (extra `demo`)."""
    from omop_emb.demo.tour import run  # noqa: PLC0415  the extra may not be installed

    run(keep=keep)
