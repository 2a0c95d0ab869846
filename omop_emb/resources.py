"""Where the SQL files and the migrations are, in a checkout and in an installed wheel."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def _directory(name: str) -> Path:
    installed = PACKAGE / name
    return installed if installed.is_dir() else PACKAGE.parent / name


SQL = _directory("sql")
MIGRATIONS = _directory("migrations")
