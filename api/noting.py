"""The caller's changes on their way into the audit log."""

from typing import Any

from sqlalchemy.orm import Session

from api.callers import Caller
from store import audit


def note(session: Session, caller: Caller, action: str, subject: str, detail: dict[str, Any] | None = None) -> None:
    """Writes down who did what, in the transaction of the change."""
    audit.record(session, project=caller.project, key_id=caller.key_id, action=action, subject=subject, detail=detail)
