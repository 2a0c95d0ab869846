"""The command `evaluate`: what it prints and writes, and what it says when it cannot."""

import json
import re
import sys
from importlib import resources
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import psycopg
import pytest
from click.testing import CliRunner, Result

from omop_emb.cli import main
from omop_emb.evaluation import charts
from omop_emb.evaluation.report import GroupFigures
from tests.endpoint import Answer, Endpoint

NASTY = '<script>alert("1")</script> [bold]$x_{$'


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.csv"
    path.write_text(
        "query\tconcept_id\n"
        "heart attack\t4329847\nheart attack\t312327\nbroken bone\t4237458\nsore head\t378253\nfever pill\t1127433\n"
        f'"{NASTY.replace(chr(34), chr(34) * 2)}"\t320128\nlow sugar\t3004249\n',
        encoding="utf-8",
    )
    return path


def run(db: psycopg.Connection | None, *arguments: str | Path) -> Result:
    dsn = db.info.dsn if db else "host=/nowhere"
    return CliRunner().invoke(main, ["--dsn", dsn, "evaluate", *map(str, arguments)])


def failed(db: psycopg.Connection | None, *arguments: str | Path) -> str:
    """Run what must fail with 1, nothing on stdout and an error with at most a hint on stderr."""
    result = run(db, *arguments)
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    lines = result.stderr.splitlines()
    assert lines[0].startswith("error: ")
    assert all(line.startswith("hint: ") for line in lines[1:])
    return "\n".join(lines)


def test_table_json_and_page(indexed: psycopg.Connection, pairs: Path, tmp_path: Path) -> None:
    page, data = tmp_path / "report.html", tmp_path / "report.json"
    page.write_text("old", encoding="utf-8")
    before = (mpl.rcParams["svg.hashsalt"], mpl.rcParams["svg.fonttype"])
    result = run(indexed, pairs, "--html", page, "--json", data)
    assert result.exit_code == 0, result.output
    assert max(map(len, result.stdout.splitlines())) <= 100
    for words in ("hit@10", "MRR", "p50", "document / query (right)", "query / document (swapped)", "p (Holm)"):
        assert words in result.stdout
    assert "texts/s" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pairs.csv", "report.html", "report.json"]

    found = json.loads(data.read_text(encoding="utf-8"))
    assert [query["query"] for query in found["queries"]][3:5] == ["fever pill", NASTY]
    assert found["queries"][0]["wanted"][1] == {
        "id": 312327,
        "name": "Acute myocardial infarction",
        "group": "SNOMED",
    }
    configuration = found["configurations"][0]
    hybrid, semantic = configuration["searches"]
    assert (hybrid["mode"], semantic["mode"], hybrid["latency"]["calls"]) == ("hybrid", "semantic", 6)
    assert len(hybrid["ranking"]["ranks"]) == len(configuration["roles"][3]["ranking"]["ranks"]) == 6
    assert set(semantic["ranking"]["measures"]["mrr"]) == {"value", "low", "high"}
    assert found["options"]["seed"] == 1

    html = page.read_text(encoding="utf-8")
    assert "<script" not in html
    assert "&lt;script&gt;alert" in html
    assert not re.search(r"""(src|href|url\()\s*=?\s*["']?(?!#|["']?#)[\w/]""", html)
    assert not re.search(r"@import|<link|<img|<iframe", html)
    assert html.count("<svg") == 3
    for drawing in re.findall(r"<svg.*?</svg>", html, re.DOTALL):
        ElementTree.fromstring(drawing)
    assert "Worst misses: test (hybrid)" in html
    assert "<td>test (hybrid)</td><td>test (semantic)</td>" in html
    assert "SNOMED (4)" in html
    assert (mpl.rcParams["svg.hashsalt"], mpl.rcParams["svg.fonttype"]) == before
    assert "matplotlib.pyplot" not in sys.modules


def test_a_narrow_terminal_cuts_no_figure_off(
    indexed: psycopg.Connection, pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = [line for line in run(indexed, pairs).stdout.splitlines() if "MRR - right" in line]
    for name, value in (("COLUMNS", "50"), ("FORCE_COLOR", "1"), ("TERM", "dumb")):
        monkeypatch.setenv(name, value)
    narrow = [line for line in run(indexed, pairs).stdout.splitlines() if "MRR - right" in line]
    assert wide[0].split()[-2:] == narrow[0].split()[-2:] == ["p", "(Holm)"]
    assert len(narrow[0]) <= 80


def test_json_on_stdout_is_nothing_but_json(indexed: psycopg.Connection, pairs: Path) -> None:
    result = run(indexed, pairs, "--json", "-", "--no-controls", "--config", "test", "--mode", "semantic")
    found = json.loads(result.stdout)
    assert found["configurations"][0]["roles"] == found["comparisons"] == []
    assert [search["mode"] for search in found["configurations"][0]["searches"]] == ["semantic"]


def test_charts_take_any_name() -> None:
    names = ["$a_{$", "<b>&amp;", "词汇表", "_hidden", "x" * 300, "\\frac"]
    drawn = charts.group_chart([GroupFigures(name, 1, 0.5, 0.5) for name in names], "g")
    texts = {element.text for element in ElementTree.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text")}
    assert {"$a_{$ (1)", "<b>&amp; (1)", "词汇表 (1)", "_hidden (1)", "\\frac (1)"} <= texts


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["p.csv", "--builtin", "icd10cm"],
        ["--builtin", "other"],
        ["--builtin", "icd10cm", "--skip-unknown"],
        ["--builtin", "icd10cm", "--mode", "hybrid"],
        ["p.csv", "--mode", "lexical"],
        ["p.csv", "--queries", "0"],
        ["p.csv", "--json", "p.csv"],
        ["p.csv", "--json", "x", "--html", "./x"],
    ],
)
def test_wrong_usage(arguments: list[str]) -> None:
    assert run(None, *arguments).exit_code == 2


def test_bad_input_fails_before_anything_is_asked(
    indexed: psycopg.Connection, endpoint: Endpoint, pairs: Path, tmp_path: Path
) -> None:
    assert "cannot read nosuch.csv" in failed(None, "nosuch.csv")
    assert "cannot connect to PostgreSQL" in failed(None, pairs)
    assert "cannot write /nosuch/x.html: No such file" in failed(indexed, pairs, "--html", "/nosuch/x.html")
    assert "cannot write /dev/null: it is not a regular file" in failed(indexed, pairs, "--json", "/dev/null")
    assert f"cannot write {tmp_path}" in failed(indexed, pairs, "--json", tmp_path)
    assert endpoint.requests == []
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.csv"]


def test_what_fails_later_leaves_the_files_as_they_were(
    indexed: psycopg.Connection, endpoint: Endpoint, pairs: Path, tmp_path: Path
) -> None:
    page = tmp_path / "report.html"
    page.write_text("old", encoding="utf-8")
    assert "no embedding configuration 'x'" in failed(indexed, pairs, "--config", "x", "--html", page)
    endpoint.respond = lambda request: Answer(status=400) if "query: Headache" in request["input"] else None
    result = run(indexed, pairs, "--html", page)
    assert (result.exit_code, result.stdout) == (1, "")
    assert re.fullmatch(r"error: text \d+ of 16: the endpoint .* answered HTTP 400: .*", result.stderr.splitlines()[-2])
    pairs.write_text("query,concept_id\na,17\n", encoding="utf-8")
    assert "1 concept id is not in the index of 'test': 17\nhint:" in failed(indexed, pairs, "--html", page)
    assert (page.read_text(encoding="utf-8"), len(list(tmp_path.iterdir()))) == ("old", 2)


def test_what_the_extra_installs_is_named_when_missing(pairs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("jinja2", "simple_icd_10_cm"):
        monkeypatch.setitem(sys.modules, module, None)
    hint = "hint: pip install 'omop-emb-postgres[evaluate]'"
    assert failed(None, pairs, "--html", "x.html").splitlines() == ["error: the HTML report needs package jinja2", hint]
    assert failed(None, "--builtin", "icd10cm").endswith(hint)


def test_the_page_is_part_of_the_package() -> None:
    assert resources.files("omop_emb.evaluation").joinpath("page.html.j2").is_file()
