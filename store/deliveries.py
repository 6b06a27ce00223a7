"""The life of a delivery: due, claimed under a lease, sent outside of any transaction, recorded. No function commits.

A worker that dies while it sends leaves a lease that runs out, and the next one sends again with the same event id.
"""

import random
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import and_, or_, select, update
from sqlalchemy.orm import Session, aliased

from store.database import now_s
from store.webhook_tables import Delivery, Webhook

PAUSES_S: Final = (5.0, 60.0, 600.0, 3600.0, 10_800.0, 21_600.0, 46_800.0)
"""Between the tries: eight within 23.2 hours."""
MOST_TRIES: Final = len(PAUSES_S) + 1
LEASE_S: Final = 60.0
"""Longer than a try may take."""

_DUE: Final = (Delivery.status == "pending", Delivery.next_try_at <= now_s())


@dataclass(frozen=True)
class Claim:
    """A delivery won by a worker: what to send where, and the secrets that sign it, the newest first."""

    delivery_id: str
    attempt: int
    url: str
    secrets: tuple[str, ...]
    event_id: str
    type: str
    detail: dict[str, Any]
    created_at: float


def any_due(session: Session) -> bool:
    """Whether there is something to claim, or to give up."""
    return session.scalar(select(Delivery.id).where(*_DUE).limit(1)) is not None


def claim(session: Session) -> Claim | None:
    """Takes the delivery that is due for longest, of a webhook that nobody sends to at the moment; or None.

    One at a time for each webhook: a receiver that is slow keeps nobody else waiting.
    """
    _give_up(session)
    other = aliased(Delivery)
    under_way = select(other.id).where(
        other.webhook_id == Delivery.webhook_id, other.status == "pending", other.lease_expires_at > now_s()
    )
    pick = select(Delivery.id).where(*_DUE, ~under_way.exists()).order_by(Delivery.next_try_at, Delivery.id).limit(1)
    delivery_id = session.execute(pick.with_for_update(skip_locked=True)).scalar()
    if delivery_id is None:
        return None
    free = or_(Delivery.lease_expires_at.is_(None), Delivery.lease_expires_at <= now_s())
    won = session.execute(
        update(Delivery)
        .where(Delivery.id == delivery_id, Delivery.status == "pending", free)
        .values(attempt=Delivery.attempt + 1, lease_expires_at=now_s() + LEASE_S)
        .returning(Delivery.attempt)
    ).scalar()
    return None if won is None else _claimed(session, delivery_id, won)


def record(session: Session, claim: Claim, *, told: dict[str, Any]) -> str | None:
    """Writes down one try: delivered, pending until the next one, or failed after the last. None: fenced."""
    row = session.get(Delivery, claim.delivery_id, populate_existing=True)
    if row is None or row.attempt != claim.attempt or row.status != "pending":
        return None
    row.tries = [*row.tries, {**told, "at": session.execute(select(now_s())).scalar_one()}]
    row.lease_expires_at = None
    if told["error"] is None:
        row.status = "delivered"
    elif claim.attempt >= MOST_TRIES:
        row.status = "failed"
    if row.status == "pending":
        # Jitter shortens alone, so that the last try stays within the day.
        pause_s = PAUSES_S[claim.attempt - 1] * random.uniform(0.9, 1.0)  # noqa: S311  # no secret
        row.next_try_at = row.tries[-1]["at"] + pause_s
    else:
        row.next_try_at, row.finished_at = None, row.tries[-1]["at"]
    session.flush()
    return row.status


def _claimed(session: Session, delivery_id: str, attempt: int) -> Claim:
    both_valid = Webhook.previous_until > now_s()
    row, webhook, rotated = session.execute(
        select(Delivery, Webhook, both_valid)
        .join(Webhook, Webhook.id == Delivery.webhook_id)
        .where(Delivery.id == delivery_id)
    ).one()
    earlier = (webhook.previous_secret,) if rotated and webhook.previous_secret is not None else ()
    return Claim(
        delivery_id=delivery_id,
        attempt=attempt,
        url=webhook.url,
        secrets=(webhook.secret, *earlier),
        event_id=row.event_id,
        type=row.type,
        detail=row.detail,
        created_at=row.created_at,
    )


def _give_up(session: Session) -> None:
    """Ends deliveries whose worker died in their last try: nobody can tell whether that one arrived."""
    lost = and_(Delivery.status == "pending", Delivery.attempt >= MOST_TRIES, Delivery.lease_expires_at <= now_s())
    session.execute(
        update(Delivery)
        .where(lost)
        .values(status="failed", finished_at=now_s(), next_try_at=None, lease_expires_at=None)
    )
