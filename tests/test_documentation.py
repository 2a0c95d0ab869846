"""The pages in docs/ are true: their blocks run in order, with the real model, and give the output they show."""

import contextlib
import io
import json
import re
import urllib.parse
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from omop_emb import embedder
from omop_emb.configuration import configure
from omop_emb.model_names import FAMILIES

DOCS = Path(__file__).parent.parent / "docs"
BLOCK = re.compile(r"^```(python|sql)\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)


def run_sql(db: psycopg.Connection, statement: str) -> str:
    """Return rows as psql -A would show them, or the error with its SQLSTATE."""
    try:
        rows = db.execute(statement.encode()).fetchall()
    except psycopg.Error as error:
        return f"ERROR {error.sqlstate}: {error.diag.message_primary}\n"
    return "".join(" | ".join(str(value) for value in row) + "\n" for row in rows)


def run_python(code: str, names: dict[str, Any]) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, names)
    return printed.getvalue()


def run_page(db: psycopg.Connection, page: str) -> dict[str, Any]:
    """Check that each block gives the output it shows; return the names that Python blocks defined."""
    names: dict[str, Any] = {}
    blocks = BLOCK.findall(page)
    assert len(blocks) == page.count("```python") + page.count("```sql") > 3
    for language, code, expected in blocks:
        shown = run_sql(db, code) if language == "sql" else run_python(code, names)
        assert shown == expected, code
    return names


def test_asymmetric_embeddings(
    db: psycopg.Connection, dsn: str, model_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("DOCUMENT", "QUERY"):
        monkeypatch.setenv(f"OMOP_EMB_{variable}_EMBEDDING_PREFIX", "")
    configure(db, "e5", {"api_base": model_url, "model": embedder.MODEL, "vocabularies": ["SNOMED"]})
    page = (DOCS / "asymmetric-embeddings.md").read_text(encoding="utf-8")
    here = {
        "http://localhost:8089/v1": model_url,
        "postgresql+psycopg://postgres@localhost/omop": "postgresql+psycopg:///?"
        + urllib.parse.urlencode(conninfo_to_dict(dsn)),
    }
    for there, replacement in here.items():
        page = page.replace(there, replacement)
    names = run_page(db, page)
    names["session"].close()
    names["engine"].dispose()


def test_search(db: psycopg.Connection, model_url: str) -> None:
    configure(db, "e5", {"api_base": model_url, "model": embedder.MODEL})
    db.execute("SELECT omop_emb_index()")
    run_page(db, (DOCS / "search.md").read_text(encoding="utf-8"))


def test_the_page_of_model_families_is_what_is_known() -> None:
    def cell(role: dict[str, Any]) -> str:
        prefix = role["prefix"].replace("\n", "\\n").replace("|", "\\|")
        parts = [f"`{prefix}`" if prefix else "", f"params `{json.dumps(role['params'])}`" if role["params"] else ""]
        return ", ".join(filter(None, parts)) or "none"

    page = (DOCS / "model-families.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| [")]
    assert rows == [
        f"| [{family['name']}]({family['model_card']}) | {cell(family['document'])} | {cell(family['query'])} |"
        for family in FAMILIES
    ]
