"""Sessions of people at the pages: begun with a key, ended by time, by signing out, or with it. Nothing commits."""

import secrets
from typing import Final

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from store import keys
from store.database import now_s
from store.key_tables import ApiKey, PageSession

LASTS_S: Final = 8 * 3600.0


def begin(session: Session, key_id: str) -> str:
    """The text of a new cookie. What has ended is swept away with it."""
    session.execute(delete(PageSession).where(PageSession.expires_at <= now_s()))
    text = secrets.token_hex(keys.SECRET_BYTES)
    session.execute(
        insert(PageSession).values(
            sha256=keys.digest(text), key_id=key_id, created_at=now_s(), expires_at=now_s() + LASTS_S
        )
    )
    return text


def key_of(session: Session, text: str) -> ApiKey | None:
    """The key that a cookie's session was begun with, as long as both stand."""
    query = select(PageSession.key_id).where(PageSession.sha256 == keys.digest(text), PageSession.expires_at > now_s())
    key_id = session.execute(query).scalar()
    return None if key_id is None else keys.of_id(session, key_id)


def end(session: Session, text: str) -> None:
    """Signs out."""
    session.execute(delete(PageSession).where(PageSession.sha256 == keys.digest(text)))
