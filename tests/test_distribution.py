"""The package on other legs: a dump that is restored, and a wheel without the checkout."""

import shutil
import subprocess
import sys
from pathlib import Path

from omop_emb.demo.cluster import Cluster
from omop_emb.install import migrate
from tests.conftest import new_database
from tests.endpoint import Endpoint
from tests.installing import check_it_works, dump, execute, tool


def test_dump_and_restore_into_another_database_of_the_cluster(
    dsn: str, cluster: Cluster, endpoint: Endpoint, tmp_path: Path
) -> None:
    check_it_works(dsn, endpoint)
    found = execute(dsn, "SELECT * FROM omop_emb_search('x', 100)")
    tool("pg_dump", "-Fc", "-f", str(tmp_path / "dump"), dsn)
    for restored in new_database(cluster, None):
        tool("pg_restore", "--exit-on-error", "-d", restored, str(tmp_path / "dump"))
        assert dump(restored) == dump(dsn)
        assert execute(restored, "SELECT * FROM omop_emb_search('x', 100)") == found
        assert execute(restored, "SELECT pending, stale, index_valid, triggers_installed FROM omop_emb.status") == [
            (0, 0, True, True)
        ]
        assert execute(restored, "SELECT * FROM omop_emb_index()") == [(0, 0, 0, 0, 0)]
        migrate(restored)
        assert dump(restored) == dump(dsn)
        execute(restored, "DELETE FROM cdm.concept WHERE concept_id = 378253")
        assert len(execute(restored, "SELECT * FROM omop_emb_search('x', 100)")) == 9


def test_a_wheel_installs_and_migrates_without_the_checkout(vocabulary_dsn: str, dsn: str, tmp_path: Path) -> None:
    root = Path(__file__).parents[1]
    source = tmp_path / "source"
    source.mkdir()
    for name in ("omop_emb", "migrations", "sql"):
        shutil.copytree(root / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"):
        shutil.copy(root / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-cache-dir"]
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(source)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    target = tmp_path / "target"
    install_wheel = [*pip, "install", "--no-deps", "--no-index", "--target", str(target), str(wheel)]
    subprocess.run(install_wheel, check=True, capture_output=True)
    located = "import omop_emb.resources as r; print(r.SQL, r.MIGRATIONS)"

    def python(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        environment = {"PYTHONPATH": str(target), "OMOP_EMB_DSN": vocabulary_dsn}
        return subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path, env=environment).stdout

    assert python("-c", located).split() == [str(target / "omop_emb/sql"), str(target / "omop_emb/migrations")]
    python("-m", "omop_emb.cli", "migrate")
    assert dump(vocabulary_dsn) == dump(dsn)
