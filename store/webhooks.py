"""Webhooks: made, read, rotated, deleted, and told. ``deliveries`` holds what workers change. No function commits."""

import base64
import secrets
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.orm import Session

from store.database import now_s
from store.errors import NotFound
from store.identifiers import new_id
from store.webhook_tables import Delivery, Webhook

SECRET_BYTES: Final = 32
BOTH_VALID_S: Final = 24 * 3600.0
"""So long after a rotation the old secret signs too."""


def create(session: Session, *, project: str, url: str, events: Sequence[str]) -> Webhook:
    """A webhook with a new secret."""
    row = Webhook(id=new_id("whk"), project=project, url=url, events=list(events), secret=_new_secret())
    row.created_at = session.execute(select(now_s())).scalar_one()
    session.add(row)
    session.flush()
    return row


def get(session: Session, webhook_id: str, *, project: str) -> Webhook:
    """The project's webhook, or NotFound."""
    row = session.get(Webhook, webhook_id, populate_existing=True)
    if row is None or row.project != project:
        raise NotFound(f"There is no webhook {webhook_id!r}.")
    return row


def of_project(session: Session, project: str) -> Sequence[Webhook]:
    """The project's webhooks, oldest first."""
    return session.scalars(select(Webhook).where(Webhook.project == project).order_by(Webhook.id)).all()


def count(session: Session, project: str) -> int:
    """How many webhooks the project has."""
    return session.scalar(select(func.count()).select_from(Webhook).where(Webhook.project == project)) or 0


def rotate(session: Session, webhook_id: str, *, project: str) -> Webhook:
    """A new secret; the one before it stays valid beside it for a day."""
    found = get(session, webhook_id, project=project)
    session.execute(
        update(Webhook)
        .where(Webhook.id == webhook_id)
        .values(previous_secret=found.secret, previous_until=now_s() + BOTH_VALID_S, secret=_new_secret())
    )
    return get(session, webhook_id, project=project)


def remove(session: Session, webhook_id: str, *, project: str) -> None:
    """Deletes a webhook with its deliveries; what was not delivered yet never will be."""
    get(session, webhook_id, project=project)
    session.execute(delete(Webhook).where(Webhook.id == webhook_id))


def deliveries(session: Session, webhook_id: str, *, limit: int) -> Sequence[Delivery]:
    """The newest deliveries of a webhook, newest first."""
    query = select(Delivery).where(Delivery.webhook_id == webhook_id).order_by(Delivery.id.desc()).limit(limit)
    return session.scalars(query).all()


def tell(session: Session, project: str, type: str, detail: dict[str, Any]) -> None:
    """Writes what the project's webhooks are to be told, in the transaction in which it happened."""
    rows = session.execute(select(Webhook.id, Webhook.events).where(Webhook.project == project)).all()
    wanted = [row.id for row in rows if type in row.events]
    if not wanted:
        return
    event_id = new_id("evt")
    session.execute(
        insert(Delivery).values(created_at=now_s(), next_try_at=now_s()),
        [
            {
                "id": new_id("whd"),
                "webhook_id": webhook_id,
                "event_id": event_id,
                "type": type,
                "detail": detail,
                "status": "pending",
                "attempt": 0,
                "tries": [],
            }
            for webhook_id in wanted
        ],
    )


def _new_secret() -> str:
    return f"whsec_{base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()}"
