"""Where this machine has a PostgreSQL server that is fit for the package."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from omop_emb.errors import OmopEmbError

MINIMUM_MAJOR = 15
MINIMUM_PGVECTOR = (0, 8)
NEEDED_EXTENSIONS = ("plpython3u", "vector", "pg_trgm")


def find_binaries() -> tuple[Path, int]:
    """Find a PostgreSQL 15 or newer that has plpython3u, pgvector and pg_trgm: its bin directory and major version.

    ``PG_BINDIR`` decides when it is set; else the newest under /usr/lib/postgresql, else pg_config on PATH.

    Raises OmopEmbError that names what was looked at and what is missing there.
    """
    chosen = os.environ.get("PG_BINDIR")
    if chosen:
        candidates = [Path(chosen)]
    else:
        debian = Path("/usr/lib/postgresql").glob("*/bin")
        candidates = sorted(debian, key=lambda path: (len(path.parent.name), path.parent.name), reverse=True)
        pg_config = shutil.which("pg_config")
        if pg_config:
            candidates.append(Path(_output(pg_config, "--bindir")))
    problems = []
    for directory in candidates:
        major, problem = _inspect(directory)
        if not problem:
            return directory, major
        problems.append(f"{directory} {problem}")
    raise OmopEmbError(
        "no usable PostgreSQL server is installed: "
        + ("; ".join(dict.fromkeys(problems)) or "nothing under /usr/lib/postgresql, no pg_config on PATH"),
        hint="install PostgreSQL 15 or newer with plpython3u, pgvector and pg_trgm (on Debian 13 the packages"
        " postgresql-17, which has pg_trgm, postgresql-plpython3-17 and postgresql-17-pgvector), or set PG_BINDIR",
    )


def _inspect(directory: Path) -> tuple[int, str | None]:
    for program in ("initdb", "postgres"):
        if not (directory / program).is_file():
            return 0, f"has no {program}"
    version = re.search(r"\) (\d+)", _output(directory / "postgres", "--version"))
    major = int(version[1]) if version else 0
    if major < MINIMUM_MAJOR:
        return major, f"is PostgreSQL {major}"
    own_pg_config = directory / "pg_config"
    if own_pg_config.is_file():
        share = Path(_output(own_pg_config, "--sharedir"))
    else:
        share = Path(f"/usr/share/postgresql/{major}")
    missing = [name for name in NEEDED_EXTENSIONS if not (share / f"extension/{name}.control").is_file()]
    if missing:
        return major, f"(PostgreSQL {major}) lacks {' and '.join(missing)}"
    found = re.search(r"default_version = '(\d+)\.(\d+)", (share / "extension/vector.control").read_text())
    if found and (int(found[1]), int(found[2])) < MINIMUM_PGVECTOR:
        return major, f"(PostgreSQL {major}) has pgvector older than 0.8"
    return major, None


def _output(*command: str | Path) -> str:
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout.strip()  # noqa: S603
