"""A configuration with several endpoints: searches and index runs use those that answer."""

import psycopg
import pytest

from omop_emb.configuration import configure
from omop_emb.errors import OmopEmbError
from omop_emb.indexing import index
from tests.endpoint import Answer, Endpoint, running_endpoint

NOBODY = "http://127.0.0.1:9/v1"
SETTINGS = {"model": "recorded", "document_prefix": "doc: ", "query_prefix": "query: "}


def test_an_endpoint_that_is_down_is_asked_once_a_minute(db: psycopg.Connection, endpoint: Endpoint) -> None:
    with running_endpoint() as other:
        configure(
            db,
            "test",
            {"api_base": NOBODY, "further_api_bases": [endpoint.url, other.url], "dimensions": 8, **SETTINGS},
        )
        assert db.execute("SELECT embedded, failed FROM omop_emb_index()").fetchone() == (16, 0)
        other.respond = lambda _: Answer(status=503)
        db.execute("UPDATE omop_emb.config SET timeout_ms = 500")
        for number in range(20):
            assert len(db.execute("SELECT * FROM omop_emb_search(%s)", [f"text {number}"]).fetchall()) == 10
        asked = len(other.requests)
        assert db.execute("SELECT count(*) FROM omop_emb_search('one more')").fetchone() == (10,)
        assert len(other.requests) == asked
        endpoint.respond = lambda _: Answer(status=503)
        other.respond = lambda _: None
        assert db.execute("SELECT count(*) FROM omop_emb_search('and another')").fetchone() == (10,)
        other.respond = lambda _: Answer(status=503)
        with pytest.raises(psycopg.Error) as raised:
            db.execute("SELECT * FROM omop_emb_search('nobody answers')")
        assert raised.value.sqlstate == "OE003"


def test_an_index_run_goes_on_with_the_sound_ones(db: psycopg.Connection, endpoint: Endpoint) -> None:
    with running_endpoint() as other:
        settings = {
            "api_base": endpoint.url,
            "further_api_bases": [NOBODY, other.url],
            "batch_size": 2,
            "dimensions": 8,
            **SETTINGS,
        }
        configure(db, "test", settings)
        endpoint.requests.clear()
        done = index(db)
        assert (done.embedded, done.failed, done.remaining) == (16, 0, 0)
        assert endpoint.requests
        assert other.requests
        assert len(endpoint.texts) + len(other.texts) == 16


@pytest.mark.parametrize(("bases", "said"), [(["ftp://x"], "'ftp://x'"), (["http://x:99999"], "port"), ([""], "''")])
def test_what_is_no_url_is_refused(db: psycopg.Connection, endpoint: Endpoint, bases: list[str], said: str) -> None:
    with pytest.raises(OmopEmbError, match="further_api_bases: one .*" + said):
        configure(db, "test", {"api_base": endpoint.url, "further_api_bases": bases, **SETTINGS})
