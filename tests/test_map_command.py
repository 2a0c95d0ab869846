"""omop-emb-admin map: what it reads from users' files, and that Usagi and the CDM can read what it writes."""

import csv
import io
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner, Result

from omop_emb.cli import main
from omop_emb.errors import OmopEmbError
from omop_emb.mapping.source import Columns, read_source
from tests.endpoint import Answer, Endpoint
from tests.test_map import ICD_NAME, mappable

__all__ = ["mappable"]

USAGI = (
    "sourceCode,sourceName,sourceFrequency,sourceAutoAssignedConceptIds,ADD_INFO:ward,matchScore,mappingStatus,"
    "equivalence,statusSetBy,statusSetOn,conceptId,conceptName,domainId,mappingType,comment,createdBy,createdOn,"
    "assignedReviewer"
)
TABLE = """
CREATE TABLE cdm.source_to_concept_map (
    source_code varchar(50) NOT NULL, source_concept_id integer NOT NULL, source_vocabulary_id varchar(20) NOT NULL,
    source_code_description varchar(255) NULL, target_concept_id integer NOT NULL,
    target_vocabulary_id varchar(20) NOT NULL, valid_start_date date NOT NULL, valid_end_date date NOT NULL,
    invalid_reason varchar(1) NULL)
"""
SOURCE = f'''\ufeffSource Code;"Description";count;ward
A;"{ICD_NAME}";12;x
B;"Head
ache";1;"a ""b"""
B;Headache;;y

C;aspirin, daily; 7.0 ;z;shifted
D;;3;w
;Headache;1;w
E;Antihypertensives;many
F;Fracture of clavicle;99999999999;v
F;aspirin;1;v
{"G" * 51};aspirin;1;v
H;{"long " * 60};1;v
'''


def write(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "source.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def run(connection: psycopg.Connection, *arguments: str | Path) -> Result:
    info = connection.info
    dsn = f"host={info.host} port={info.port} user={info.user} dbname={info.dbname}"
    return CliRunner().invoke(main, ["--dsn", dsn, "map", *map(str, arguments)])


def test_usagi(mappable: psycopg.Connection, endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.requests.clear()
    source = SOURCE.replace("Head\nache", "Headache").replace(f"H;{'long ' * 60};1;v\n", "")
    result = run(mappable, write(tmp_path, source), "--output", "usagi")
    assert result.exit_code == 1
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert result.stdout.splitlines()[0] == USAGI
    names = ("sourceCode", "sourceFrequency", "conceptId", "conceptName", "domainId", "ADD_INFO:ward")
    assert [tuple(row[name] for name in names) for row in rows] == [
        ("A", "12", "312327", "Acute myocardial infarction", "Condition", "x"),
        ("A", "12", "378253", "Headache", "Condition", "x"),
        ("B", "1", "378253", "Headache", "Condition", 'a "b"'),
        ("C", "0", "0", "Unmapped", "", "z"),
        ("D", "0", "0", "Unmapped", "", "w"),
        ("E", "0", "0", "Unmapped", "", ""),
        ("F", "2147483647", "4237458", "Fracture of clavicle", "Condition", "v"),
        ("F", "1", "1112807", "aspirin", "Drug", "v"),
        ("G" * 51, "1", "1112807", "aspirin", "Drug", "v"),
    ]
    for row in rows:
        assert (row["mappingStatus"], row["equivalence"], row["mappingType"]) == ("UNCHECKED", "UNREVIEWED", "MAPS_TO")
        assert row["matchScore"] == ("0.00" if row["conceptId"] == "0" else "1.00")
        assert int(row["statusSetOn"]) == 0
        assert (int(row["createdOn"]) > 1_600_000_000_000, row["createdBy"]) == (
            (False, "") if row["conceptId"] == "0" else (True, "omop_emb")
        )
    assert rows[0]["comment"] == f"by 35207668 {ICD_NAME} (ICD10CM I21)"
    assert rows[3]["comment"] == "line 6: 5 fields where the header has 4"
    asked = [text for request in endpoint.requests for text in request["input"]]
    assert len(asked) == len(set(asked)) == 4
    assert "line 4: repeats the code and name of line 3" in result.stderr
    assert "line 8: no code; left out" in result.stderr
    assert "8 source codes in 9 rows: 5 mapped, 0 found without a standard concept, 3 nothing found; 1 lines left" in (
        result.stderr
    )


def test_source_to_concept_map_can_be_copied_into_the_table(mappable: psycopg.Connection, tmp_path: Path) -> None:
    out = tmp_path / "map.csv"
    source = write(tmp_path, SOURCE + "I;Antihypertensives;1;v\nI;Antihypertensives again;1;v\n")
    arguments = ("--output", "source-to-concept-map", "--source-vocabulary-id", "MINE", "--file", out)
    vocabularies = ("--vocabulary", "SNOMED", "--vocabulary", "ICD10CM", "--vocabulary", "ATC")
    result = run(mappable, source, *arguments, *vocabularies)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "the code has 51 characters, the table allows 50; left out" in result.stderr
    assert "source_code_description holds 255; its end is cut off there" in result.stderr
    mappable.execute(TABLE)
    with mappable.cursor().copy("COPY cdm.source_to_concept_map FROM STDIN (FORMAT csv, HEADER)") as copy:
        copy.write(out.read_bytes())
    rows = mappable.execute("SELECT * FROM cdm.source_to_concept_map WHERE source_code IN ('A', 'D')").fetchall()
    assert [(*row[:6], str(row[6]), str(row[7]), row[8]) for row in rows] == [
        ("A", 0, "MINE", ICD_NAME, 312327, "SNOMED", "1970-01-01", "2099-12-31", None),
        ("A", 0, "MINE", ICD_NAME, 378253, "SNOMED", "1970-01-01", "2099-12-31", None),
        ("D", 0, "MINE", None, 0, "None", "1970-01-01", "2099-12-31", None),
    ]
    keyed = "SELECT count(*), count(DISTINCT (source_code, target_concept_id)) FROM cdm.source_to_concept_map"
    total = mappable.execute(keyed).fetchone()
    assert total is not None
    assert total[0] == total[1] > 8
    assert mappable.execute(
        "SELECT DISTINCT length(source_code_description) FROM cdm.source_to_concept_map WHERE source_code = 'H'"
    ).fetchall() == [(255,)]


def test_thousands_of_names_in_batches(mappable: psycopg.Connection, tmp_path: Path) -> None:
    lines = "".join(f"{number}\tname {number % 1200}\n" for number in range(1500))
    result = run(mappable, write(tmp_path, "code\tname\n" + lines + "x\tHeadache\n"), "--output", "usagi")
    assert result.exit_code == 0, result.stderr
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert len({row["sourceCode"] for row in rows}) == 1501
    assert rows[-1]["conceptId"] == "378253"
    answers: dict[str, set[str]] = {}
    for row in rows:
        answers.setdefault(row["sourceName"], set()).add(row["matchScore"])
    assert all(len(scores) == 1 for scores in answers.values())


def test_a_name_that_cannot_be_embedded_is_named_by_its_lines(
    mappable: psycopg.Connection, endpoint: Endpoint, tmp_path: Path
) -> None:
    endpoint.respond = lambda request: Answer(400, b"too odd") if any("odd" in t for t in request["input"]) else None
    lines = "".join(f"{number},name {number}\n" for number in range(600))
    source = write(tmp_path, f"code,name\n{lines}x,odd name\ny,Headache\nz,{'long ' * 7000}\nx2,odd name\n")
    result = run(mappable, source, "--output", "usagi")
    assert result.exit_code == 0, result.stderr
    assert "query" not in result.stderr
    assert "warning" not in result.stderr
    notes = [line for line in result.stderr.splitlines() if line.startswith("note: ")]
    refused = f"the name cannot be embedded: the endpoint {endpoint.url} answered HTTP 400: too ..."
    long = "the name cannot be embedded: the text to embed has 34999 characters, the limit is 32768"
    assert notes == [
        f"note: line {line}: {problem}; kept without a concept"
        for line, problem in ((602, refused), (604, long), (605, refused))
    ]
    comments = [(row["conceptId"], row["comment"]) for row in csv.DictReader(io.StringIO(result.stdout))][-4:]
    assert comments == [("0", refused), ("378253", ""), ("0", long), ("0", refused)]


def test_other_warnings_are_said_once(mappable: psycopg.Connection, endpoint: Endpoint, tmp_path: Path) -> None:
    mappable.execute("UPDATE omop_emb.config SET api_base = 'http://127.0.0.1:1/v1', lexical_fallback = true")
    lines = "".join(f"{number},name {number}\n" for number in range(600))
    result = run(mappable, write(tmp_path, f"code,name\n{lines}"), "--output", "usagi")
    assert result.exit_code == 0, result.stderr
    warnings = [line for line in result.stderr.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 1
    assert "letters, not meaning" in warnings[0]


def test_nothing_half_written_stays(mappable: psycopg.Connection, tmp_path: Path) -> None:
    mappable.execute("DROP TABLE cdm.concept_relationship")
    out = tmp_path / "out.csv"
    out.write_text("before")
    result = run(mappable, write(tmp_path, "code,name\nA,Headache\n"), "--output", "usagi", "--file", out)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: the vocabulary table cdm.concept_relationship does not exist\nhint: ")
    assert out.read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.csv", "source.csv"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"code,name\nA,ok\nB,caf\xe9\n", "line 3: not UTF-8: byte 0xe9"),
        ("", "is empty"),
        ("code,name\n", "holds no codes"),
        ("id,name\n1,x\n", "no column for the code: 'id', 'name'"),
        ("code,name,Name\n1,x,y\n", "2 columns for the name"),
        ('code,name\nA,x\nB,"open\nC,y\n', "line 3: not CSV"),
        ("code,name\nA,\0\n", "line 2: a NUL character"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(OmopEmbError, match=message):
        read_source(write(tmp_path, text))


def test_columns_by_name(tmp_path: Path) -> None:
    path = write(tmp_path, "id|,text,n,code,name\n1,one,5,c,wrong\n")
    (code,) = read_source(path, Columns("id|", "text", "n")).codes
    assert (code.code, code.name, code.frequency, code.others) == ("1", "one", 5, ("c", "wrong"))
    with pytest.raises(OmopEmbError, match="no column 'missing'"):
        read_source(path, Columns(frequency="missing"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--output", "source-to-concept-map"],
        ["--output", "usagi", "--source-vocabulary-id", "X"],
        ["--output", "source-to-concept-map", "--source-vocabulary-id", "X" * 21],
        ["--output", "usagi", "--file", "source.csv"],
        ["--output", "excel"],
    ],
)
def test_wrong_usage(arguments: list[str]) -> None:
    assert CliRunner().invoke(main, ["--dsn", "port=1", "map", "source.csv", *arguments]).exit_code == 2
