"""The settings of a configuration in the database, for a client."""

from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from omop_emb.database import session_errors
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
    with session_errors():
        row = session.execute(SETTINGS, {"name": config}).mappings().one_or_none()
    if row is None:
        missing = "no embedding configuration is active" if config is None else f"there is no configuration {config!r}"
        raise OmopEmbError(missing, "Add one with omop-emb-admin configure; omop-emb-admin status lists them.", "OE002")
    return dict(row)
