"""The demo: everything on a throwaway database, with the bundled model and a real OMOP sample."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg

from omop_emb import embedder
from omop_emb.demo import gibleed
from omop_emb.demo.cluster import Cluster
from omop_emb.demo.screen import Screen
from omop_emb.errors import OmopEmbError

DATABASE = "omop"
HEART_ATTACK = 4329847
LOCAL_CONCEPT = 2_000_000_001

# No phrase shares a word with the name of its concept.
_LAY_PHRASES = {
    "broken collarbone": (4237458, "Fracture of clavicle"),
    "underactive thyroid": (140673, "Hypothyroidism"),
    "memory loss in old age": (378419, "Alzheimer's disease"),
}

_CODE = """\
SELECT concept_name, matched_kind, semantic_rank, lexical_rank
FROM omop_emb_search('k922', k => 2);"""

_CODE_NAME = "Gastrointestinal hemorrhage, unspecified"

_MAP = """\
SELECT query, concept_name, matched_kind,
    standard_concept_name AS standard_name
FROM omop_emb_map('{broken collarbone,clopidogril,K92.2}');"""

_PATIENTS = """\
SELECT s.rank, s.concept_id, s.concept_name,
    count(DISTINCT o.person_id) AS patients
FROM omop_emb_search('bleeding stomach', k => 5, domains => '{Condition}') s
LEFT JOIN cdm.condition_occurrence o ON o.condition_concept_id = s.concept_id
GROUP BY s.rank, s.concept_id, s.concept_name
ORDER BY s.rank;"""

_INSERT = """\
INSERT INTO cdm.concept (concept_id, concept_name, domain_id, vocabulary_id,
    concept_class_id, concept_code, valid_start_date, valid_end_date)
VALUES (2000000001, 'Onychocryptosis of great toe', 'Condition', 'Local',
    'Clinical Finding', 'L-1', '2024-01-01', '2099-12-31');"""


def run(keep: bool = False) -> None:
    """Run the demo, checking each result; with ``keep``, leave everything running until Ctrl-C.

    Whatever was started is stopped and removed, however this ends. Call it from the main thread.

    Raises OmopEmbError when a step fails or a result is wrong, SystemExit(130) on Ctrl-C and SystemExit(143)
    on SIGTERM.
    """
    screen = Screen()
    try:
        _tour(screen, keep)
    except KeyboardInterrupt as interrupt:
        screen.say("\nStopped. The demo's database and embedder are gone.")
        # The command line has a subclass for other signals.
        if type(interrupt) is not KeyboardInterrupt:
            raise
        raise SystemExit(130) from None
    except psycopg.Error as error:
        message = error.diag.message_primary or str(error).strip()
        raise OmopEmbError(f"the demo failed: {message}", hint=error.diag.message_hint) from error


def _tour(screen: Screen, keep: bool) -> None:
    started = time.monotonic()
    with ExitStack() as stack:
        screen.heading("1. A private database server, a real embedding model, real OMOP data")
        with screen.step("Loading the bundled embedding model"):
            api_base = stack.enter_context(_embedder())
        cluster = Cluster()
        # Registered before it is entered, so that no interrupt falls in between.
        stack.push(cluster)
        with screen.step(f"Starting a throwaway PostgreSQL {cluster.major} in {cluster.socket_directory}"):
            cluster.__enter__()
            cluster.create_database(DATABASE)
        dsn = cluster.dsn_for(DATABASE)
        connection = stack.enter_context(psycopg.connect(dsn, autocommit=True))
        with screen.step("Loading the GiBleed sample into schema cdm"):
            counts = gibleed.load(connection, "cdm")
        screen.say(
            f"{counts['concept']:,} concepts, {counts['concept_synonym']:,} synonyms, "
            f"{counts['person']:,} patients, {sum(counts.values()):,} rows in all."
        )
        _install(screen, dsn, api_base)
        _search(screen, connection)
        _map(screen, connection)
        _count_patients(screen, connection)
        _add_a_concept(screen, connection)
        _break_the_prefixes(screen, connection)
        _end(screen, cluster, api_base, time.monotonic() - started, keep)


@contextmanager
def _embedder() -> Iterator[str]:
    with embedder.create_server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="embedder", daemon=True)
        thread.start()
        try:
            yield server.url
        finally:
            server.shutdown()


def _install(screen: Screen, dsn: str, api_base: str) -> None:
    screen.heading("2. Install omop_emb, configure the model, embed each concept as a DOCUMENT")
    screen.command("migrate", "--cdm-schema", "cdm", dsn=dsn)
    screen.command("configure", "e5", "--api-base", api_base, "--model", embedder.MODEL, dsn=dsn)
    screen.command("index", dsn=dsn)


def _search(screen: Screen, connection: psycopg.Connection) -> None:
    screen.heading("3. Search by meaning: every search term is embedded as a QUERY")
    _find(screen, connection, "heart attack", HEART_ATTACK, "Myocardial infarction", k=5)
    for phrase, (concept_id, name) in _LAY_PHRASES.items():
        _find(screen, connection, phrase, concept_id, name, k=3)


def _find(screen: Screen, connection: psycopg.Connection, phrase: str, concept_id: int, name: str, *, k: int) -> None:
    rows = screen.query(
        connection,
        f"SELECT rank, concept_id, concept_name, similarity, matched_text\nFROM omop_emb_search('{phrase}', k => {k});",
    )
    found = f"{rows[0]['concept_name']} ({rows[0]['concept_id']})" if rows else "nothing"
    _check(
        len(rows) == k and rows[0]["concept_id"] == concept_id,
        f"the search for '{phrase}' should give {k} concepts, {name} ({concept_id}) first, but gave "
        f"{len(rows)}, {found} first",
    )


def _map(screen: Screen, connection: psycopg.Connection) -> None:
    screen.heading("4. Codes, misspelt names, and many texts at once, mapped to standard concepts")
    rows = screen.query(connection, _CODE)
    _check(
        len(rows) == 2 and rows[0]["matched_kind"] == "code" and rows[0]["concept_name"] == _CODE_NAME,
        f"the first of two concepts should be {_CODE_NAME}, by its code K92.2",
    )
    rows = screen.query(connection, _MAP)
    wanted = ["Fracture of clavicle", "clopidogrel", "Gastrointestinal hemorrhage"]
    _check(
        [row["standard_name"] for row in rows] == wanted,
        f"the three texts should be mapped to {', '.join(wanted)}",
    )


def _count_patients(screen: Screen, connection: psycopg.Connection) -> None:
    screen.heading("5. A search is a table: join it to the patients, from any BI tool")
    rows = screen.query(connection, _PATIENTS)
    _check(
        len(rows) == 5 and rows[0]["concept_name"] == "Gastrointestinal hemorrhage" and rows[0]["patients"] > 0,
        "the first of five conditions should be Gastrointestinal hemorrhage, with patients",
    )


def _add_a_concept(screen: Screen, connection: psycopg.Connection) -> None:
    screen.heading("6. The vocabulary changes: only what is new is queued and embedded")
    screen.query(connection, _INSERT)
    jobs = screen.query(connection, "SELECT * FROM omop_emb.queue;")
    queued = any(LOCAL_CONCEPT in ids for job in jobs for ids in job["concept_ids"])
    _check(queued, f"concept {LOCAL_CONCEPT} should be in the queue")
    done = screen.query(connection, "SELECT * FROM omop_emb_index();")
    _check(done[0]["embedded"] == 1 and done[0]["remaining"] == 0, "exactly one text should be embedded")
    _find(screen, connection, "ingrown toenail", LOCAL_CONCEPT, "Onychocryptosis of great toe", k=3)


def _break_the_prefixes(screen: Screen, connection: psycopg.Connection) -> None:
    screen.heading("7. Wrong prefixes: an error, never a silently worse answer")
    screen.say("The prefix that the stored vectors were made with can't be changed under them:")
    _refused(
        screen,
        connection,
        "OE001",
        "UPDATE omop_emb.config SET document_prefix = 'query: ' WHERE name = 'e5';",
    )
    screen.say("\nA query prefix may change at any time. This model refuses a text without one:")
    screen.query(connection, "UPDATE omop_emb.config SET query_prefix = '' WHERE name = 'e5';")
    _refused(screen, connection, "OE003", "SELECT * FROM omop_emb_search('heart attack', k => 5);")
    screen.say("\nPut right, the same session searches again at once:")
    screen.query(
        connection,
        f"UPDATE omop_emb.config SET query_prefix = '{embedder.QUERY_PREFIX}' WHERE name = 'e5';",  # noqa: S608
    )
    _find(screen, connection, "heart attack", HEART_ATTACK, "Myocardial infarction", k=1)


def _refused(screen: Screen, connection: psycopg.Connection, sqlstate: str, statement: str) -> None:
    try:
        screen.query(connection, statement)
    except psycopg.Error as error:
        _check(error.sqlstate == sqlstate, f"the error should be {sqlstate}, but is {error.sqlstate}")
    else:
        _check(False, f"the statement should be refused with {sqlstate}, but succeeded")


def _check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise OmopEmbError(f"the demo failed: {otherwise}")


def _end(screen: Screen, cluster: Cluster, api_base: str, seconds: float, keep: bool) -> None:
    screen.heading(f"Done: every result above was checked. {seconds:.0f} s in all.")
    if not keep:
        screen.say("The database and the embedder are removed now. With --keep they run on, for your own searches.")
        return
    screen.say("The database and the embedder run until Ctrl-C. Connect with")
    screen.line(cluster.psql_for(DATABASE))
    screen.say("and use the model at")
    screen.line(api_base)
    threading.Event().wait()
