"""uninstall leaves no trace, and nothing that others use is taken away."""

from omop_emb.demo.cluster import Cluster
from omop_emb.install import migrate, uninstall
from tests.endpoint import Endpoint
from tests.installing import ROLES, check_it_works, comparable, dump, execute, tool


def test_uninstall_leaves_no_trace(own_cluster: Cluster, endpoint: Endpoint) -> None:
    first = own_cluster.dsn_for("first")

    def trace() -> list[str]:
        return [dump(first), comparable(tool("pg_dumpall", "--globals-only", "-d", own_cluster.dsn))]

    before = trace()
    migrate(first)
    check_it_works(first, endpoint)
    assert trace() != before
    assert uninstall(first) == []
    assert trace() == before
    assert execute(first, "SELECT extname FROM pg_extension ORDER BY 1") == [("plpgsql",)]
    assert uninstall(first) == []
    assert trace() == before
    migrate(first)
    uninstall(first)
    assert trace() == before


def test_uninstall_keeps_what_was_there_before_or_is_used_by_others(own_cluster: Cluster) -> None:
    first, second = own_cluster.dsn_for("first"), own_cluster.dsn_for("second")
    execute(first, "CREATE EXTENSION vector; CREATE TABLE mine (v vector(3)); CREATE ROLE analyst")
    before = dump(first)
    migrate(first)
    migrate(second)
    execute(first, "GRANT omop_emb_reader TO analyst")
    execute(second, "CREATE TABLE mine (v vector(3))")
    warnings = uninstall(first)
    assert {warning for warning in warnings if "omop_emb_owner" in warning} != set()
    assert all("another database of this cluster uses it" in warning for warning in warnings)
    assert dump(first) == before
    assert execute(second, "SELECT omop_emb_version() IS NOT NULL") == [(True,)]
    warnings = uninstall(second)
    assert warnings == ["extension vector stays: other objects use it"]
    assert execute(second, ROLES) == []
