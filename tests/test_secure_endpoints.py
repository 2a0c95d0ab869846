"""https with a certificate of a test authority, and secrets that stay secret."""

import datetime
import ipaddress
import ssl
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from omop_emb.configuration import configure
from omop_emb.demo.cluster import Cluster
from omop_emb.install import migrate
from tests.conftest import VOCABULARY
from tests.endpoint import Answer, Endpoint, running_endpoint

SECRET = "sk-test-7d1f0c"
SETTINGS = {"model": "recorded", "dimensions": 8, "max_retries": 0, "query_prefix": "query: "}


class Authority:
    """A certificate authority that lives as long as the test."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._certificate = self._sign(self._name, self._key.public_key(), authority=True)

    def _sign(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, authority: bool) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            # Python 3.13 and newer accept no certificate without these.
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=True,
                    key_cert_sign=authority,
                    crl_sign=authority,
                    content_commitment=False,
                    key_encipherment=False,
                    data_encipherment=False,
                    key_agreement=False,
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
            .add_extension(
                x509.SubjectAlternativeName(
                    [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.2"))]
                ),
                critical=False,
            )
        )
        return builder.sign(self._key, hashes.SHA256())

    def write_certificate(self, path: Path) -> None:
        """Write the authority's own certificate."""
        path.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def server_context(self, directory: Path) -> ssl.SSLContext:
        """Return the server side of TLS with a certificate for localhost."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        certificate = self._sign(subject, key.public_key(), authority=False)
        path = directory / "server.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context


@dataclass
class Site:
    """A database whose server trusts one authority and holds secrets."""

    db: psycopg.Connection
    cluster: Cluster
    authority: Authority


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Run a server with a certificate authority and secrets in its environment."""
    with tempfile.TemporaryDirectory() as directory:
        # The server runs as another user.
        Path(directory).chmod(0o755)
        authority = Authority("Test authority")
        trusted = Path(directory) / "authority.pem"
        authority.write_certificate(trusted)
        environment = {
            "SSL_CERT_FILE": str(trusted),
            "TEST_API_KEY": SECRET,
            "BROKEN_API_KEY": SECRET + "\r\nX-Other: 1",
            "EMPTY_API_KEY": "",
        }
        with Cluster(environment=environment) as cluster, psycopg.connect(cluster.dsn, autocommit=True) as db:
            db.execute(VOCABULARY)
            migrate(cluster.dsn)
            configure(db, "test", {**SETTINGS, "api_base": "http://127.0.0.1:1/v1"})
            yield Site(db, cluster, authority)


def use(site: Site, url: str, key_name: str | None = None) -> None:
    """Point the configuration at an endpoint."""
    site.db.execute("UPDATE omop_emb.config SET api_base = %s, api_key_name = %s", [url, key_name])


def refused(site: Site, message: str) -> str:
    """Check that a search and an index run end with OE003 and the message; return everything that was said."""
    said = ""
    for statement in ("SELECT * FROM omop_emb_search('fever')", "SELECT * FROM omop_emb_index()"):
        with pytest.raises(psycopg.Error, match=message) as raised:
            site.db.execute(statement)
        assert raised.value.diag.sqlstate == "OE003"
        assert raised.value.diag.message_hint
        said += f"{raised.value} {raised.value.diag.context}"
    return said


def test_https(site: Site, tmp_path: Path) -> None:
    with running_endpoint(site.authority.server_context(tmp_path)) as endpoint:
        use(site, endpoint.url)
        for number in range(5):
            found = site.db.execute("SELECT omop_emb_embed_query(%s) IS NOT NULL", [f"term {number}"]).fetchone()
            assert found == (True,)
        assert endpoint.texts == [f"query: term {number}" for number in range(5)]
        assert endpoint.connections == 1


def test_https_connections_that_the_server_closed_are_replaced(site: Site, tmp_path: Path) -> None:
    with running_endpoint(site.authority.server_context(tmp_path)) as endpoint:
        use(site, endpoint.url)
        endpoint.close_idle = True
        for number in range(3):
            site.db.execute("SELECT omop_emb_embed_query(%s)", [f"idle {number}"])
        endpoint.close_idle = False
        answers = [Answer(hang_up=True)]
        site.db.execute("SELECT omop_emb_embed_query('kept')")
        endpoint.respond = lambda _: answers.pop() if answers else None
        site.db.execute("SELECT omop_emb_embed_query('hung up')")
        assert endpoint.texts[-2:] == ["query: hung up"] * 2


def test_a_certificate_of_an_unknown_authority_is_refused(site: Site, tmp_path: Path) -> None:
    with running_endpoint(Authority("Test authority").server_context(tmp_path)) as endpoint:
        use(site, endpoint.url)
        refused(site, "certificate verify failed")
        assert endpoint.requests == []


def test_a_certificate_for_another_host_is_refused(site: Site, tmp_path: Path) -> None:
    with running_endpoint(site.authority.server_context(tmp_path)) as endpoint:
        use(site, endpoint.url.replace("localhost", "127.0.0.1"))
        refused(site, "127.0.0.1")
        assert endpoint.requests == []


def test_http_spoken_where_https_is_expected(site: Site) -> None:
    with running_endpoint() as endpoint:
        use(site, endpoint.url.replace("http:", "https:"))
        refused(site, "could not be reached")


@pytest.fixture
def plain() -> Iterator[Endpoint]:
    with running_endpoint() as running:
        yield running


def test_the_secret_is_sent_and_nothing_shows_it(site: Site, plain: Endpoint) -> None:
    use(site, plain.url, "TEST_API_KEY")
    site.db.execute("SELECT omop_emb_embed_query('with a key')")
    assert plain.headers[-1]["authorization"] == f"Bearer {SECRET}"
    site.db.execute("SELECT * FROM omop_emb_index()")
    assert plain.headers[-1]["authorization"] == f"Bearer {SECRET}"
    site.db.execute("SELECT omop_emb.discard('test')")

    plain.respond = lambda _: Answer(401, f'{{"error": "Incorrect API key provided: {SECRET}"}}'.encode())
    said = refused(site, "HTTP 401: Incorrect API key provided")
    plain.respond = lambda _: Answer(400, f"Bearer {SECRET}".encode() * 500)
    said += refused(site, "HTTP 400")
    plain.respond = lambda request: (
        Answer(400, SECRET.encode()) if any("Headache" in text for text in request["input"]) else None
    )
    assert site.db.execute("SELECT failed FROM omop_emb_index()").fetchone() == (1,)
    tables = site.db.execute(
        "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = 'omop_emb' AND c.relkind IN ('r', 'v')"
    ).fetchall()
    for (table,) in tables:
        said += str(site.db.execute(f"TABLE {table}").fetchall())
    assert "omop_emb.failures" in str(tables)
    said += site.cluster.log.read_text()
    assert "Incorrect API key provided" in said
    assert SECRET not in said
    site.db.execute("SELECT omop_emb.discard('test')")


def test_no_key_is_sent_without_a_name(site: Site, plain: Endpoint) -> None:
    use(site, plain.url)
    site.db.execute("SELECT omop_emb_embed_query('without a key')")
    assert "authorization" not in plain.headers[-1]


def test_a_secret_that_is_missing_is_named(site: Site, plain: Endpoint) -> None:
    for name in ("ABSENT_API_KEY", "EMPTY_API_KEY"):
        use(site, plain.url, name)
        refused(site, name)
    assert plain.requests == []


def test_a_secret_that_no_header_can_carry_is_named_and_not_shown(site: Site, plain: Endpoint) -> None:
    use(site, plain.url, "BROKEN_API_KEY")
    said = refused(site, "BROKEN_API_KEY")
    assert SECRET not in said
    assert plain.requests == []


def test_only_names_of_secrets_are_names(site: Site, plain: Endpoint) -> None:
    for name in ("PATH", "PGPASSWORD", SECRET, "test_api_key", "TEST_API_KEY\n", ""):
        with pytest.raises(psycopg.Error, match="api_key_name") as raised:
            use(site, plain.url, name)
        assert raised.value.diag.sqlstate == "OE005"
