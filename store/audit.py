"""The audit log: who changed what, in the transaction of the change. Entries are only added."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from store.database import now_s
from store.identifiers import new_id
from store.key_tables import AuditEntry


def record(
    session: Session,
    *,
    project: str,
    key_id: str | None,
    action: str,
    subject: str,
    detail: dict[str, Any] | None = None,
) -> None:
    """One entry; ``subject`` is the id of what was changed, ``key_id`` None where no key was asked for."""
    session.add(
        AuditEntry(
            id=new_id("aud"),
            created_at=session.execute(select(now_s())).scalar_one(),
            project=project,
            key_id=key_id,
            action=action,
            subject=subject,
            detail=detail,
        )
    )
    session.flush()


def page(session: Session, *, limit: int, after: str | None = None) -> list[AuditEntry]:
    """Entries of all projects, newest first; those before ``after``."""
    query = select(AuditEntry)
    if after is not None:
        query = query.where(AuditEntry.id < after)
    return list(session.scalars(query.order_by(AuditEntry.id.desc()).limit(limit)))
