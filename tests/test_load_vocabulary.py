"""omop-emb-admin load-vocabulary: Athena's dialect, a refresh, a site's own tables, and everything or nothing."""

import gzip
import json
import re
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner, Result

from omop_emb.cli import main
from omop_emb.install import migrate
from omop_emb.vocabulary import load_vocabulary
from omop_emb.vocabulary.tables import TABLES
from tests.conftest import Connect
from tests.endpoint import Endpoint
from tests.installing import execute

CONCEPT = (
    "concept_id\tconcept_name\tdomain_id\tvocabulary_id\tconcept_class_id\tstandard_concept\tconcept_code\t"
    "valid_start_date\tvalid_end_date\tinvalid_reason\n"
)
ROW = "{}\t{}\tCondition\t{}\tDisorder\t{}\t{}\t19700101\t20991231\t{}\n"
# Names that were NULL, cut or unescaped under another idea of CSV; the last has none.
NAMES = [
    "NA",
    'Syringe 1/2" "quoted',
    '"',
    r"back\slash \N \t",
    r"\N",
    "Ménière's disease 頭痛",
    " spaced ",
    "NULL",
    "",
]
FILES = {
    "CONCEPT.csv": CONCEPT
    + "".join(ROW.format(i, name, "SNOMED", "S", f"c{i}", "") for i, name in enumerate(NAMES, 1))
    + ROW.format(10, "gone", "ICD10CM", "", "c10", "D"),
    "CONCEPT_SYNONYM.csv": 'concept_id\tconcept_synonym_name\tlanguage_concept_id\n1\tnot "applicable\t4180186\n',
    "CONCEPT_RELATIONSHIP.csv": "concept_id_1\tconcept_id_2\trelationship_id\tvalid_start_date\tvalid_end_date\t"
    "invalid_reason\n1\t1\tMaps to\t19700101\t20991231\t\n10\t1\tMaps to\t19700101\t20991231\tD\n",
    "CONCEPT_ANCESTOR.csv": "max_levels_of_separation\tmin_levels_of_separation\tdescendant_concept_id\t"
    "ancestor_concept_id\n3\t2\t1\t9\n",
    "VOCABULARY.csv": "vocabulary_id\tvocabulary_name\tvocabulary_reference\tvocabulary_version\t"
    "vocabulary_concept_id\nPlan\tHealth Plan\t\t\t32471\n",
    "DOMAIN.csv": "domain_id\tdomain_name\tdomain_concept_id\nCondition\tCondition\t19\n",
    "CONCEPT_CLASS.csv": "concept_class_id\tconcept_class_name\tconcept_class_concept_id\nDisorder\tDisorder\t1\n",
    "RELATIONSHIP.csv": "relationship_id\trelationship_name\tis_hierarchical\tdefines_ancestry\t"
    "reverse_relationship_id\trelationship_concept_id\nMaps to\tto standard\t0\t0\tMapped from\t44818977\n",
    "DRUG_STRENGTH.csv": "drug_concept_id\tingredient_concept_id\tamount_value\tamount_unit_concept_id\t"
    "numerator_value\tnumerator_unit_concept_id\tdenominator_value\tdenominator_unit_concept_id\tbox_size\t"
    "valid_start_date\tvalid_end_date\tinvalid_reason\n1\t2\t.5\t8576\t\t\t\t\t\t19700101\t20991231\t\n",
}


def write(directory: Path, files: dict[str, str | bytes]) -> Path:
    directory.mkdir(exist_ok=True)
    for name, content in files.items():
        data = content if isinstance(content, bytes) else content.encode()
        (directory / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return directory


def export(connection: psycopg.Connection, directory: Path) -> Path:
    """Write the vocabulary of a database as Athena would."""
    directory.mkdir()
    connection.execute("SET datestyle = 'ISO, YMD'")
    for table in ("concept", "concept_synonym", "concept_relationship", "concept_ancestor"):
        cursor = connection.execute(f"SELECT * FROM cdm.{table}".encode())
        lines = [[column.name for column in cursor.description or []], *cursor.fetchall()]
        text = "".join("\t".join("" if value is None else str(value) for value in line) + "\n" for line in lines)
        (directory / f"{table.upper()}.csv").write_text(re.sub(r"(\d{4})-(\d\d)-(\d\d)", r"\1\2\3", text))
    return directory


def run(dsn: str, *arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["--dsn", dsn, "load-vocabulary", *map(str, arguments)])


def loaded(dsn: str, *arguments: str | Path) -> dict[str, object]:
    result = run(dsn, *arguments, "--json")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return dict(json.loads(result.stdout))


def contents(dsn: str, schema: str = "cdm") -> dict[str, list[tuple[object, ...]]]:
    """Return the rows of the vocabulary tables that are there."""
    return {
        table: execute(dsn, f"SELECT * FROM {schema}.{table} ORDER BY {table}::text")
        for table in TABLES
        if execute(dsn, f"SELECT to_regclass('{schema}.{table}')") != [(None,)]
    }


def test_a_first_load(bare_dsn: str, tmp_path: Path) -> None:
    result = run(bare_dsn, write(tmp_path / "plain", {**FILES}))
    assert result.exit_code == 0, result.output
    assert result.stderr.splitlines()[-1] == "warning: concepts of SNOMED without a name: 1"
    assert "           10 rows in cdm.concept\n" in result.stdout
    assert result.stdout.endswith("next: omop-emb-admin migrate --cdm-schema cdm\n")
    names = [name for (name,) in execute(bare_dsn, "SELECT concept_name FROM cdm.concept ORDER BY concept_id")]
    assert names == [*NAMES, "gone"]
    assert execute(bare_dsn, "SELECT standard_concept, invalid_reason FROM cdm.concept WHERE concept_id > 8") == [
        ("S", None),
        (None, "D"),
    ]
    plain = contents(bare_dsn)
    assert plain.keys() == set(TABLES)
    assert plain["concept_ancestor"] == [(9, 1, 2, 3)]
    assert plain["vocabulary"] == [("Plan", "Health Plan", None, None, 32471)]
    assert plain["concept_synonym"] == [(1, 'not "applicable', 4180186)]
    indexes = "SELECT count(*) FROM pg_indexes WHERE schemaname = 'cdm' AND indexname LIKE 'idx%'"
    assert execute(bare_dsn, indexes) == [(7,)]
    assert execute(bare_dsn, "SELECT reltuples FROM pg_class WHERE oid = 'cdm.concept'::regclass") == [(10,)]

    # The same download as other programs leave it.
    odd: dict[str, str | bytes] = {
        name.lower() + ".gz" if name in ("CONCEPT_SYNONYM.csv", "DOMAIN.csv") else name: text.replace("\n", "\r\n")
        for name, text in FILES.items()
    }
    odd["CONCEPT.csv"] = ("\ufeff" + FILES["CONCEPT.csv"]).replace("\n", "\r\n", 4)
    odd["readme.txt"] = "not a table"
    write(tmp_path / "odd", odd)
    assert loaded(bare_dsn, tmp_path / "odd", "--cdm-schema", "Odd one")["cdm_schema"] == "Odd one"
    assert contents(bare_dsn, '"Odd one"') == plain
    with zipfile.ZipFile(tmp_path / "v5.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in FILES.items():
            archive.writestr(f"vocabulary/{name}", text)
            archive.writestr(f"__MACOSX/vocabulary/{name}", "x")
    done = loaded(bare_dsn, tmp_path / "v5.zip", "--cdm-schema", "zipped")
    assert done["rows"] == {table: len(rows) for table, rows in plain.items() if rows}
    assert done["created"] == sorted(TABLES)
    assert contents(bare_dsn, "zipped") == plain
    migrate(bare_dsn, "cdm")


def test_large_files_come_in_blocks(bare_dsn: str, tmp_path: Path) -> None:
    rows = "".join(ROW.format(i, f"concept {i} " + "x" * (i % 99), "SNOMED", "S", i, "") for i in range(1, 40_001))
    seen: list[tuple[str, int, int | None]] = []
    with psycopg.connect(bare_dsn) as connection:
        directory = write(tmp_path / "d", {"CONCEPT.csv": CONCEPT + rows})
        load_vocabulary(connection, directory, progress=lambda *step: seen.append(step))
    assert execute(bare_dsn, "SELECT count(*), sum(concept_id) FROM cdm.concept") == [(40_000, 800_020_000)]
    steps = [done for name, done, total in seen if name == "CONCEPT.csv" and total == 5]
    assert steps[0] == 0
    assert steps[-1] == 5
    assert len(steps) > 4
    assert steps == sorted(steps)
    result = run(bare_dsn, write(tmp_path / "d", {"CONCEPT.csv": CONCEPT + rows + "1\tx\n"}), "--replace")
    assert result.stderr.splitlines()[-2].startswith("error: CONCEPT.csv, line 40002: missing data for column")


def test_a_refresh_embeds_what_is_new(
    indexed: psycopg.Connection, dsn: str, endpoint: Endpoint, connect: Connect, tmp_path: Path
) -> None:
    directory = export(indexed, tmp_path / "d")
    indexed.execute("INSERT INTO cdm.concept VALUES (2000000001, 'ours', 'Drug', 'Local', 'Drug', 'S', 'L1')")
    indexed.execute("CREATE TABLE cdm.drug_strength (drug_concept_id integer)")
    indexed.execute("INSERT INTO cdm.drug_strength VALUES (1)")
    before = contents(dsn)

    def found(query: str) -> list[str]:
        rows = indexed.execute("SELECT concept_name FROM omop_emb_search(%s, 1)", [query]).fetchall()
        return [name for (name,) in rows]

    result = run(dsn, directory)
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "error: there are rows already in cdm.concept, cdm.concept_synonym, cdm.concept_relationship,"
        " cdm.concept_ancestor",
        "hint: --replace empties the tables that the download has files for, and loads them anew.",
    ]
    result = run(dsn, directory, "--replace")
    assert result.exit_code == 1
    assert "of cdm.concept that are not in the download and would be lost: 1, such as 2000000001" in result.stderr
    assert contents(dsn) == before

    concepts = (directory / "CONCEPT.csv").read_text()
    concepts = concepts.replace("Headache\t", "Cephalalgia\t").replace("aspirin\t", "\t")
    concepts = "".join(line for line in concepts.splitlines(True) if "Essential hypertension" not in line)
    concepts += ROW.format(7, 'Size 7" pump', "SNOMED", "S", "c7", "")
    write(directory, {"CONCEPT.csv": concepts})
    # Neither a superuser nor a member of any role: rights on the tables are enough.
    indexed.execute("DROP ROLE IF EXISTS loader")
    indexed.execute("CREATE ROLE loader LOGIN")
    indexed.execute("GRANT USAGE ON SCHEMA cdm TO loader")
    tables = "cdm.concept, cdm.concept_synonym, cdm.concept_relationship, cdm.concept_ancestor, cdm.drug_strength"
    indexed.execute(f"GRANT SELECT, INSERT ON {tables} TO loader".encode())
    as_loader = psycopg.conninfo.make_conninfo(dsn, user="loader")
    result = run(as_loader, directory, "--replace", "--drop-local-concepts")
    assert result.stderr.splitlines()[0] == "error: permission denied for table concept"
    assert "TRUNCATE" in result.stderr
    assert contents(dsn) == before
    indexed.execute(f"GRANT TRUNCATE ON {tables} TO loader".encode())
    done = loaded(as_loader, directory, "--replace", "--drop-local-concepts")
    indexed.execute("DROP OWNED BY loader; DROP ROLE loader")
    assert done["rows"] == {"concept": 11, "concept_synonym": 8, "concept_relationship": 6, "concept_ancestor": 3}
    assert done["created"] == []
    assert done["warnings"] == [
        "cdm.drug_strength keeps its old rows: the download has no DRUG_STRENGTH.csv",
        "concepts of RxNorm without a name: 1",
    ]
    assert done["next_command"] == "omop-emb-admin index"

    assert found("Essential hypertension") == ["Essential hypertension"]
    endpoint.requests.clear()
    index = CliRunner().invoke(main, ["--dsn", dsn, "index", "--json"])
    assert json.loads(index.stdout)["remaining"] == 0
    assert sorted(endpoint.texts) == ["doc: Cephalalgia", 'doc: Size 7" pump']
    assert found("Essential hypertension") != ["Essential hypertension"]
    assert found('Size 7" pump') == ['Size 7" pump']
    status = indexed.execute("SELECT pending, stale, index_valid, triggers_installed FROM omop_emb.status")
    assert status.fetchone() == (0, 0, True, True)


def test_a_refresh_waits_for_readers_and_searches_do_not_wait_for_it(
    indexed: psycopg.Connection, connect: Connect, dsn: str, tmp_path: Path
) -> None:
    directory = export(indexed, tmp_path / "d")
    indexed.execute("SET statement_timeout = '5s'")
    search = "SELECT concept_name FROM omop_emb_search('Headache', 1, domains => '{Condition}')"
    steps: list[str] = []
    reader = connect(autocommit=False)
    reader.execute("SELECT FROM cdm.concept")

    def progress(step: str, done: int, total: int | None) -> None:
        steps.append(step)
        reader.rollback()
        assert indexed.execute(search).fetchone() == ("Headache",)

    with psycopg.connect(dsn) as connection:
        load_vocabulary(connection, directory, replace=True, progress=progress)
    assert steps[0] == "waiting for other sessions"
    assert steps.count("CONCEPT_ANCESTOR.csv") == 3


def test_the_tables_of_a_site(bare_dsn: str, tmp_path: Path) -> None:
    directory = write(tmp_path / "d", {name: FILES[name] for name in ("CONCEPT.csv", "CONCEPT_SYNONYM.csv")})
    execute(
        bare_dsn,
        "CREATE SCHEMA omop; CREATE TABLE omop.concept (loaded_at date NOT NULL DEFAULT now(), concept_code text,"
        " concept_id bigint, concept_name text, domain_id text, vocabulary_id text, concept_class_id text NOT NULL,"
        " standard_concept char(1), valid_start_date timestamp, valid_end_date date, invalid_reason text, note text)",
    )
    done = loaded(bare_dsn, directory)
    assert (done["cdm_schema"], done["created"]) == ("omop", ["concept_synonym"])
    assert done["next_command"] == "omop-emb-admin migrate --cdm-schema omop"
    assert execute(
        bare_dsn, "SELECT concept_name, concept_code, note FROM omop.concept WHERE concept_id IN (1, 9)"
    ) == [
        ("NA", "c1", None),
        (None, "c9", None),
    ]
    execute(bare_dsn, "ALTER TABLE omop.concept ADD site text NOT NULL DEFAULT ''")
    execute(bare_dsn, "ALTER TABLE omop.concept ALTER site DROP DEFAULT")
    assert "error: CONCEPT.csv lacks columns that omop.concept needs: 'site'" in run(bare_dsn, directory).stderr
    execute(bare_dsn, "ALTER TABLE omop.concept DROP site, DROP invalid_reason CASCADE")
    assert "is not an OMOP concept table: it lacks invalid_reason" in run(bare_dsn, directory).stderr
    execute(bare_dsn, "CREATE SCHEMA other; CREATE TABLE other.concept ()")
    assert "error: 2 schemas have a table concept" in run(bare_dsn, directory).stderr
    execute(bare_dsn, "CREATE SCHEMA views; CREATE VIEW views.concept_synonym AS SELECT 1")
    assert "views.concept_synonym is not a table" in run(bare_dsn, directory, "--cdm-schema", "views").stderr
    assert "is this package's own" in run(bare_dsn, directory, "--cdm-schema", "omop_emb").stderr


def test_foreign_keys_are_named_and_the_docs_show_the_way(bare_dsn: str, tmp_path: Path) -> None:
    directory = write(tmp_path / "d", {**FILES})
    loaded_first = run(bare_dsn, directory)
    assert loaded_first.exit_code == 0
    execute(
        bare_dsn,
        "CREATE TABLE cdm.person (person_id integer, gender_concept_id integer CONSTRAINT fpk_gender REFERENCES"
        " cdm.concept, race_concept_id integer CONSTRAINT fpk_race REFERENCES cdm.concept);"
        " INSERT INTO cdm.person VALUES (1, 1, 1);"
        " UPDATE cdm.domain SET domain_concept_id = 1;"
        " ALTER TABLE cdm.concept ADD CONSTRAINT fpk_domain FOREIGN KEY (domain_id) REFERENCES cdm.domain;"
        " ALTER TABLE cdm.domain ADD CONSTRAINT fpk_concept FOREIGN KEY (domain_concept_id) REFERENCES cdm.concept;",
    )
    write(directory, {"DOMAIN.csv": FILES["DOMAIN.csv"].replace("19", "1")})
    before = contents(bare_dsn)
    assert run(bare_dsn, directory, "--replace").stderr.splitlines() == [
        "error: foreign keys of other tables forbid to empty the vocabulary's: cdm.person (fpk_gender, fpk_race)",
        "hint: Drop them, load, and add them again; docs/operations.md shows how. Nothing was changed.",
    ]
    execute(bare_dsn, "ALTER TABLE cdm.person RENAME TO unrelated")
    execute(bare_dsn, "ALTER TABLE cdm.unrelated DROP CONSTRAINT fpk_gender, DROP CONSTRAINT fpk_race")
    refused = run(bare_dsn, directory, "--replace").stderr
    assert 'violates foreign key constraint "fpk_concept": Key (domain_concept_id)=(1) is not present' in refused
    assert "docs/operations.md shows how" in refused
    assert contents(bare_dsn) == before
    execute(
        bare_dsn, "ALTER TABLE cdm.unrelated ADD CONSTRAINT back FOREIGN KEY (race_concept_id) REFERENCES cdm.concept"
    )
    page = (Path(__file__).parents[1] / "docs/operations.md").read_text(encoding="utf-8")
    (statement,) = re.findall(r"```sql\n(SELECT format.*?)```", page, re.DOTALL)
    drops, adds = zip(*execute(bare_dsn, statement), strict=True)
    assert len(adds) == 3
    execute(bare_dsn, " ".join(map(str, drops)))
    assert loaded(bare_dsn, directory, "--replace")["created"] == []
    execute(bare_dsn, " ".join(map(str, adds)))
    assert contents(bare_dsn) == before


def test_names_of_cpt4(bare_dsn: str, tmp_path: Path) -> None:
    cpt4 = "".join(ROW.format(i, "", "CPT4", "S", i, "") for i in range(100, 103))
    files: dict[str, str | bytes] = {"CONCEPT.csv": FILES["CONCEPT.csv"], "CONCEPT_CPT4.csv": CONCEPT + cpt4}
    advice = "run cpt4.jar of the download, as its readme says, and load again"
    nameless = "concepts of SNOMED without a name: 1"
    assert loaded(bare_dsn, write(tmp_path / "d", files))["warnings"] == [
        nameless,
        f"concepts of CPT4 in CONCEPT_CPT4.csv: 3, in CONCEPT.csv: 0; {advice}",
    ]
    files["CONCEPT.csv"] = FILES["CONCEPT.csv"] + cpt4.replace("100\t\t", "100\tnamed\t")
    assert loaded(bare_dsn, write(tmp_path / "d", files), "--replace")["warnings"] == [
        f"concepts of CPT4 without a name: 2; {advice}",
        nameless,
    ]


def without_line(text: str, number: int) -> str:
    lines = text.splitlines(True)
    return "".join(lines[:number] + lines[number + 1 :])


GOOD = FILES["CONCEPT.csv"]
SYNONYM = FILES["CONCEPT_SYNONYM.csv"]
BAD_FILES: list[tuple[str, dict[str, str | bytes], str]] = [
    ("no concepts", {"DOMAIN.csv": FILES["DOMAIN.csv"]}, r"d has no CONCEPT\.csv"),
    ("empty", {"CONCEPT.csv": ""}, r"CONCEPT\.csv is empty"),
    ("only a header", {"CONCEPT.csv": CONCEPT}, r"CONCEPT\.csv holds no concepts"),
    ("commas", {"CONCEPT.csv": GOOD.replace("\t", ",")}, r"CONCEPT\.csv is not separated by tabs: its .*'concept_id,"),
    ("UTF-16", {"CONCEPT.csv": GOOD.encode("utf-16")}, r"CONCEPT\.csv, line 1: not UTF-8: byte 0xff"),
    (
        "Latin-1",
        {"CONCEPT.csv": GOOD.replace("頭痛", "").encode("latin-1")},
        r'CONCEPT\.csv, line 7: invalid byte sequence for encoding "UTF8": 0xe9',
    ),
    ("NUL", {"CONCEPT.csv": GOOD.replace("gone", "g\0ne")}, r"CONCEPT\.csv, line 11: invalid byte .* 0x00"),
    (
        "unknown columns",
        {"CONCEPT.csv": GOOD.replace("concept_name\t", "name\t", 1).replace("\tdomain_id", "\tdomain", 1)},
        r"CONCEPT\.csv has columns that cdm\.concept does not have: 'name', 'domain'",
    ),
    (
        "missing columns",
        {"CONCEPT.csv": re.sub(r"\t[^\t\n]*\n", "\n", GOOD)},
        r"CONCEPT\.csv lacks columns that cdm\.concept needs: 'invalid_reason'",
    ),
    (
        "a column twice",
        {"CONCEPT.csv": GOOD.replace("concept_name", "concept_id", 1)},
        r"header of CONCEPT\.csv names columns twice: concept_id",
    ),
    ("cut in a line", {"CONCEPT.csv": GOOD[:-30]}, r"CONCEPT\.csv, line 11: no line break at its end"),
    ("cut in the last field", {"CONCEPT_SYNONYM.csv": SYNONYM[:-3]}, r"CONCEPT_SYNONYM\.csv, line 2: no line break"),
    (
        "too few fields",
        {"CONCEPT.csv": GOOD.replace("\tc3\t", "\t", 1)},
        r"CONCEPT\.csv, line 4: missing data for column \"invalid_reason\": ",
    ),
    (
        "too many fields",
        {"CONCEPT.csv": GOOD.replace("\tc3\t", "\t\t\t", 1)},
        r"CONCEPT\.csv, line 4: extra data after",
    ),
    ("a blank line", {"CONCEPT.csv": GOOD + "\n"}, r"CONCEPT\.csv, line 12: missing data"),
    (
        "a bad date",
        {"CONCEPT.csv": GOOD.replace("19700101", "01/31/1970", 1)},
        r'CONCEPT\.csv, line 2, column valid_start_date: .*"01/31/1970"',
    ),
    (
        "a bad number",
        {"CONCEPT_SYNONYM.csv": SYNONYM + "x\ty\t1\n"},
        r'CONCEPT_SYNONYM\.csv, line 3, column concept_id: invalid input syntax for type integer: "x"',
    ),
    (
        "no concept_id",
        {"CONCEPT.csv": GOOD.replace("\n1\t", "\n\t", 1)},
        r'CONCEPT\.csv, line 2: null value in column "concept_id"',
    ),
    (
        "too long",
        {"CONCEPT.csv": GOOD.replace("gone", "g" * 256)},
        r"CONCEPT\.csv, line 11, column concept_name: value too long for type character varying\(255\): \"ggg",
    ),
    (
        "a concept twice",
        {"CONCEPT.csv": GOOD + GOOD.splitlines(True)[3]},
        r"CONCEPT\.csv, line 12: duplicate key .*: Key \(concept_id\)=\(3\) already exists",
    ),
    ("a backspace", {"CONCEPT.csv": GOOD.replace("gone", "\bgone")}, r"CONCEPT\.csv, line 11: a backspace"),
    ("an end mark", {"CONCEPT.csv": GOOD + "\\.\n" + GOOD}, r"CONCEPT\.csv, line 12: a backslash and a dot alone"),
    (
        "a carriage return",
        {"CONCEPT.csv": GOOD.replace("gone", "go\rne")},
        r"CONCEPT\.csv, line 11: unquoted carriage return",
    ),
    ("twice", {"CONCEPT.csv": GOOD, "concept.csv.gz": GOOD}, r"d has both CONCEPT\.csv and concept\.csv\.gz"),
]


@pytest.mark.parametrize(("files", "message"), [case[1:] for case in BAD_FILES], ids=[case[0] for case in BAD_FILES])
def test_bad_files_change_nothing(
    vocabulary_dsn: str, tmp_path: Path, files: dict[str, str | bytes], message: str
) -> None:
    whole: dict[str, str | bytes] = {} if "DOMAIN.csv" in files else {**FILES}
    directory = write(tmp_path / "d", {**whole, **files})
    before = contents(vocabulary_dsn)
    result = run(vocabulary_dsn, directory, "--replace", "--json")
    assert result.exit_code == 1
    assert result.stdout == ""
    error, hint = result.stderr.splitlines()
    assert re.match("error: .*" + message, error)
    assert hint.startswith("hint: ")
    assert contents(vocabulary_dsn) == before


def test_a_download_that_cannot_be_read(bare_dsn: str, tmp_path: Path) -> None:
    def refused(path: Path) -> str:
        result = run(bare_dsn, path)
        assert result.exit_code == 1
        error, hint = result.stderr.splitlines()[-2:]
        assert hint.startswith("hint: ")
        return error

    assert refused(tmp_path / "nowhere") == f"error: {tmp_path}/nowhere does not exist"
    (tmp_path / "text.zip").write_text("no")
    assert refused(tmp_path / "text.zip").endswith("text.zip is neither a directory nor a whole zip file")
    with zipfile.ZipFile(tmp_path / "v5.zip", "w") as archive:
        archive.writestr("CONCEPT.csv", FILES["CONCEPT.csv"])
    packed = (tmp_path / "v5.zip").read_bytes()
    (tmp_path / "bad.zip").write_bytes(packed.replace(b"Syringe", b"Syr1nge"))
    assert refused(tmp_path / "bad.zip") == (
        "error: CONCEPT.csv was cut off or damaged: Bad CRC-32 for file 'CONCEPT.csv'"
    )
    cut = gzip.compress(FILES["CONCEPT.csv"].encode())[:-20]
    (tmp_path / "d").mkdir()
    (tmp_path / "d/CONCEPT.csv.gz").write_bytes(cut)
    assert refused(tmp_path / "d").startswith("error: CONCEPT.csv.gz was cut off or damaged: Compressed file ended")
    (tmp_path / "d/CONCEPT.csv.gz").write_text("plain")
    assert refused(tmp_path / "d").startswith("error: cannot read CONCEPT.csv.gz: Not a gzipped file")
    assert execute(bare_dsn, "SELECT to_regnamespace('cdm')") == [(None,)]


def test_concepts_without_a_key_come_once(bare_dsn: str, tmp_path: Path) -> None:
    directory = write(tmp_path / "d", {"CONCEPT.csv": FILES["CONCEPT.csv"]})
    assert run(bare_dsn, directory).exit_code == 0
    execute(bare_dsn, "ALTER TABLE cdm.concept DROP CONSTRAINT concept_pkey")
    write(directory, {"CONCEPT.csv": GOOD + GOOD.splitlines(True)[3]})
    assert "error: CONCEPT.csv has concept_id 3 more than once" in run(bare_dsn, directory, "--replace").stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_load_changes_nothing(vocabulary_dsn: str, tmp_path: Path, number: signal.Signals) -> None:
    directory = write(tmp_path / "d", {**FILES})
    execute(
        vocabulary_dsn,
        "CREATE FUNCTION pause() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); RETURN NEW; END';"
        " CREATE TRIGGER pause BEFORE INSERT ON cdm.concept_synonym FOR EACH ROW EXECUTE FUNCTION pause()",
    )
    before = contents(vocabulary_dsn)
    process = subprocess.Popen(
        [sys.executable, "-m", "omop_emb.cli", "--dsn", vocabulary_dsn, "load-vocabulary", directory, "--replace"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    wait_for(vocabulary_dsn, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'", 1)
    started = time.monotonic()
    process.send_signal(number)
    process.communicate(timeout=20)
    assert time.monotonic() - started < 5
    assert process.returncode != 0
    assert contents(vocabulary_dsn) == before


def wait_for(dsn: str, query: str, value: int) -> None:
    deadline = time.monotonic() + 20
    while execute(dsn, query) != [(value,)] and time.monotonic() < deadline:
        time.sleep(0.02)


def test_two_loads_at_once(bare_dsn: str, tmp_path: Path) -> None:
    directory = write(tmp_path / "d", {**FILES})
    command = [sys.executable, "-m", "omop_emb.cli", "--dsn", bare_dsn, "load-vocabulary", str(directory)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    said = [process.communicate(timeout=60)[1] for process in running]
    assert sorted(process.returncode for process in running) == [0, 1, 1]
    assert sum("there are rows already in cdm.vocabulary" in stderr for stderr in said) == 2
