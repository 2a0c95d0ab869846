"""What the letters of a query find in hybrid search: exact texts and codes, spellings, misspelt words, ties."""

import psycopg
import pytest

from omop_emb.configuration import configure
from tests.endpoint import Endpoint
from tests.terminology import CONCEPTS, FILLERS, INSERT, SETTINGS, db, ids, search, shared_endpoint

__all__ = ["db", "shared_endpoint"]


@pytest.mark.parametrize(
    ("query", "first", "text", "kind"),
    [
        ("I10", [101], "I10", "code"),
        ("i10", [101], "I10", "code"),
        (" I10\n", [101], "I10", "code"),
        ("E11.621", [104], "E11.621", "code"),
        ("e11621", [104], "E11.621", "code"),
        ("1296@", [105], "1296@", "code"),
        ("1296", [106], "1296", "code"),
        ("2339-0", [107], "2339-0", "code"),
        ("23390", [107], "2339-0", "code"),
        ("g", [111, 112], "g", "code"),
        ("G", [112, 111], "G", "code"),
        ("K", [113], "K", "code"),
        ("k", [113], "K", "code"),
        ("m", [114, 115], "m", "name"),
        ("M", [115, 114], "M", "name"),
        ("M ", [115, 114], "M", "name"),
        ("'", [116], "'", "code"),
        ("''", [117], "''", "code"),
        ("x-ray", [121], "X-ray", "name"),
        ("xray", [121], "X-ray", "name"),
        ("X ray", [121], "X-ray", "name"),
        ("X\u2011ray", [121], "X-ray", "name"),
        ("xray of chest", [122], "X-ray of chest", "name"),
        ("chest film", [122], "chest film", "synonym"),
        ("metformin", [131, 135], "metformin", "name"),
        ("Metformin", [135, 131], "Metformin", "name"),
        ("metformn", [131], "metformin", "name"),
        ("metfornin 500 mg tablet", [132], "metformin hydrochloride 500 MG Oral Tablet", "name"),
        ("metotrexate", [134], "methotrexate", "name"),
        ("metroprolol", [133], "metoprolol", "name"),
        ("diabetis type 2", [103], "Type 2 diabetes mellitus", "name"),
        ("x:*", [151], "x:*", "code"),
        ("of the", [153], "of the", "name"),
        ("💔", [154], "💔", "name"),
    ],
)  # fmt: skip
def test_what_is_found_by_its_letters(
    db: psycopg.Connection, query: str, first: list[int], text: str, kind: str
) -> None:
    found = search(db, query)
    assert ids(found)[: len(first)] == first
    assert (found[0]["matched_text"], found[0]["matched_kind"]) == (text, kind)
    assert found[0]["lexical_rank"] == 1


def test_an_exact_name_comes_before_another_concepts_equal_synonym(db: psycopg.Connection) -> None:
    """The vectors are the same, and the synonym is one of a standard concept."""
    for mode in ("hybrid", "semantic"):
        db.execute("UPDATE omop_emb.config SET query_prefix = document_prefix")
        found = search(db, "Ague", 2, f", mode => '{mode}'")
        db.execute("UPDATE omop_emb.config SET query_prefix = 'query: '")
        assert [(row["concept_id"], row["matched_kind"]) for row in found] == [(141, "name"), (142, "synonym")]
        assert [row["similarity"] for row in found] == [pytest.approx(1)] * 2
    found = search(db, "ague", 2)
    assert [(row["concept_id"], row["matched_kind"]) for row in found] == [(141, "name"), (142, "synonym")]


@pytest.mark.parametrize("query", ["identical twins", "Identical-Twins"])
def test_ties_are_broken_by_standard_validity_and_id(db: psycopg.Connection, query: str) -> None:
    order = [206, 203, 204, 201, 205, 207, 202]
    for k in (7, 3, 1):
        assert ids(search(db, query, k, ", include_invalid => true")) == order[:k]
    assert ids(search(db, query, 6)) == order[:6]


@pytest.mark.parametrize("query", ["identical twin boys", "identicl twinns"])
def test_ties_of_what_is_only_alike(db: psycopg.Connection, query: str) -> None:
    """In the lexical ranking and, since their vectors are equal too, in the fused one."""
    rows = [row for row in search(db, query, 400, ", include_invalid => true") if row["concept_id"] in range(201, 208)]
    assert ids(rows) == [206, 203, 204, 201, 205, 207, 202]
    assert [row["lexical_rank"] for row in rows] == list(range(1, 8))


@pytest.mark.parametrize(
    "query",
    [
        "of the and", "???", "'", "''", "\\", "\\'", "-", ". , ;", "a & b | !c:*", "'a' <-> 'b':A*", "!", "(", "()",
        ":*",
        "back\\slash 'quoted'", "example.com/it's\\odd?a='b'&c=!d", "https://x.y/a'b\\c:*?q=%27", "/usr/lo'cal/b\\in",
        "💔🫀 👩🏽‍⚕️", "%_%", "NULL", "x" * 32768, "漢" * 32768, "word " * 6000, " ".join(f"w{i}" for i in range(3000)),
        "é" * 1500, "a\x01b\x7f", "user@exam'ple.org", "<b title='x'>&amp;</b>", "1e400 -0 +.5", "0x'1",
    ],
    ids=lambda query: ascii(query)[:30],
)  # fmt: skip
def test_any_text_is_answered_quietly(db: psycopg.Connection, query: str) -> None:
    notices: list[str] = []

    def keep(notice: psycopg.errors.Diagnostic) -> None:
        notices.append(str(notice.message_primary))

    db.add_notice_handler(keep)
    try:
        for k in (1, 10, 400):
            found = search(db, query, k, ", include_invalid => true")
            assert len(found) == len(set(ids(found))) == min(k, len(CONCEPTS) + FILLERS)
    finally:
        db.remove_notice_handler(keep)
    assert notices == []


def test_a_configuration_bounds_what_letters_find(db: psycopg.Connection, shared_endpoint: Endpoint) -> None:
    narrow = {"domains": ["Condition", "Drug"], "synonyms": False, "vocabularies": ["RxNorm", "SNOMED", "ICD10CM"]}
    configure(db, "narrow", {"api_base": shared_endpoint.url, **SETTINGS, **narrow})
    try:
        db.execute("SELECT omop_emb_index(config => 'narrow')")
        scoped = ", config => 'narrow', include_invalid => true"
        assert [row["lexical_rank"] for row in search(db, "g", 400, scoped) if row["matched_kind"] == "code"] == []
        found = search(db, "metformin", 400, scoped)
        assert ids(found)[:2] == [131, 135]
        assert 136 not in ids(found)
        assert {row["vocabulary_id"] for row in found} == {"RxNorm", "SNOMED", "ICD10CM"}
        assert {row["matched_kind"] for row in found} == {"name"}
        rows = {row["concept_id"]: row for row in search(db, "Ague", 400, scoped)}
        assert rows[141]["rank"] == rows[141]["lexical_rank"] == 1
        assert (rows[142]["matched_text"], rows[142]["lexical_rank"]) == ("Malaria", None)
    finally:
        db.execute("DELETE FROM omop_emb.config WHERE name = 'narrow'")


def test_a_session_with_the_strings_of_old_applications(db: psycopg.Connection) -> None:
    """Where a backslash in a string escapes, unless the string says what it means."""
    queries = ("metformn", "back\\slash", "type 2 diabetes", "it's")
    expected = [search(db, query, 400) for query in queries]
    status = db.execute("SELECT concepts_in_scope, indexed, pending, stale FROM omop_emb.status").fetchall()
    with psycopg.connect(db.info.dsn, autocommit=True, options="-c standard_conforming_strings=off") as old:
        assert [search(old, query, 400) for query in queries] == expected
        old.execute("SELECT * FROM omop_emb_index()")
        counts = old.execute("SELECT concepts_in_scope, indexed, pending, stale FROM omop_emb.status").fetchall()
        assert counts == status


def test_what_is_new_or_gone_is_found_by_its_letters_or_not(db: psycopg.Connection) -> None:
    """A word that no term had before, misspelt too, with the next index run; what is deleted at once."""
    db.execute(INSERT.encode() + b" VALUES (900, 'zolgensma kit', 'Drug', 'RxNorm', 'Odd', 'S', 'N1', NULL)")
    db.execute("SELECT omop_emb_index(concept_ids => '{900}')")
    for query in ("zolgensma kit", "zolgensma", "zolgensna", "kit zolgensna", "N-1"):
        assert [row["lexical_rank"] for row in search(db, query, 400) if row["concept_id"] == 900] == [1]
    db.execute("DELETE FROM cdm.concept WHERE concept_id = 900")
    for query in ("zolgensma", "N1"):
        assert 900 not in ids(search(db, query, 400))


def test_the_same_words_are_found_however_many_terms_have_them_among_others(db: psycopg.Connection) -> None:
    with db.transaction(force_rollback=True):
        db.execute(
            INSERT.encode()
            + b" SELECT 20000 + i, 'drug ' || i || ' oral tablet', 'Drug', 'RxNorm', 'Odd', 'S', 'o' || i, NULL"
            b" FROM generate_series(1, 3500) i"
        )
        db.execute(INSERT.encode() + b" VALUES (30000, 'Tablet, oral', 'Drug', 'RxNorm', 'Odd', 'S', 'last', NULL)")
        db.execute("SELECT omop_emb.reconcile()")
        found = db.execute(
            "SELECT l.concept_id, l.score"
            " FROM omop_emb.lexical_candidates(1, omop_emb.lexical_query('oral tablets'), 3,"
            " omop_emb.search_filter(omop_emb.config_for(NULL), 3, NULL, NULL, NULL, false, false, NULL, NULL)) l"
        ).fetchone()
        assert found == (30000, 1)
