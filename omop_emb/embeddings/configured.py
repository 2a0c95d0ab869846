"""The settings of a configuration in the database, for a client."""

from typing import TYPE_CHECKING, Any

import psycopg
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from omop_emb.database import readable_errors
from omop_emb.errors import OmopEmbError

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

SETTINGS = text(
    "SELECT api_base, model, dimensions, document_prefix, query_prefix, document_params, query_params,"
    " batch_size, timeout_ms, max_retries FROM omop_emb.config"
    " WHERE CASE WHEN CAST(:name AS text) IS NULL THEN is_active ELSE name = CAST(:name AS text) END"
)


def read_settings(session: "Session", config: str | None) -> dict[str, Any]:
    """Return the settings of the configuration of that name, of the active one for None; OmopEmbError without one."""
    try:
        row = session.execute(SETTINGS, {"name": config}).mappings().one_or_none()
    except DBAPIError as error:
        with readable_errors():
            raise error.orig if isinstance(error.orig, psycopg.Error) else OmopEmbError(str(error.orig)) from None
    if row is None:
        missing = "no embedding configuration is active" if config is None else f"there is no configuration {config!r}"
        raise OmopEmbError(missing, "Add one with omop-emb-admin configure; omop-emb-admin status lists them.")
    return dict(row)
