"""Keys of projects: made, looked up by their text, revoked. No function commits, and no text is kept.

256 random bits need no slow hash: nobody finds them by trying.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from typing import Final

from sqlalchemy import insert, or_, select, update
from sqlalchemy.orm import Session

from store.database import now_s
from store.errors import NotFound
from store.identifiers import new_id
from store.key_tables import ApiKey, Project

SECRET_BYTES: Final = 32
_TEXT = re.compile(r"afp_([0-9a-f]{32})_[0-9a-f]{64}", re.ASCII)
_NO_DIGEST = "0" * 64


def create(
    session: Session, *, project: str, name: str, scopes: Sequence[str], expires_in_s: float | None = None
) -> tuple[ApiKey, str]:
    """A new key and its text, which nobody can be told again. Its project is made with its first key."""
    now = session.execute(select(now_s())).scalar_one()
    if session.get(Project, project) is None:
        session.execute(insert(Project).values(name=project, created_at=now))
    key_id = new_id("key")
    text = f"afp_{key_id.removeprefix('key_')}_{secrets.token_hex(SECRET_BYTES)}"
    row = ApiKey(
        id=key_id,
        project=project,
        name=name,
        scopes=list(scopes),
        sha256=digest(text),
        created_at=now,
        expires_at=None if expires_in_s is None else now + expires_in_s,
        revoked_at=None,
        last_used_at=None,
    )
    session.add(row)
    session.flush()
    return row, text


def of_text(session: Session, text: str) -> ApiKey | None:
    """The key of this text, if it stands. Unknown, malformed, revoked and expired ones look and take the same."""
    match = _TEXT.fullmatch(text)
    row, now = _with_clock(session, f"key_{match[1]}" if match else "")
    same = hmac.compare_digest(digest(text), row.sha256 if row is not None else _NO_DIGEST)
    return row if row is not None and same and stands(row, now) else None


def of_id(session: Session, key_id: str) -> ApiKey | None:
    """The key if it stands."""
    row, now = _with_clock(session, key_id)
    return row if row is not None and stands(row, now) else None


def stands(key: ApiKey, now: float) -> bool:
    """Whether a key may be used at this moment: it ends with the moment at which it expires."""
    return key.revoked_at is None and (key.expires_at is None or now < key.expires_at)


def any_stands(session: Session) -> bool:
    """Whether anybody could enter."""
    usable = or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > now_s())
    return session.execute(select(ApiKey.id).where(ApiKey.revoked_at.is_(None), usable).limit(1)).first() is not None


def used(session: Session, key_id: str) -> None:
    """Notes that a key was used now."""
    session.execute(update(ApiKey).where(ApiKey.id == key_id).values(last_used_at=now_s()))


def page(session: Session, *, limit: int, after: str | None = None) -> list[ApiKey]:
    """Keys of all projects, revoked ones too, newest first; those before ``after``."""
    query = select(ApiKey)
    if after is not None:
        query = query.where(ApiKey.id < after)
    return list(session.scalars(query.order_by(ApiKey.id.desc()).limit(limit)))


def revoke(session: Session, key_id: str) -> ApiKey:
    """Ends a key at once. NotFound where none stands that was not revoked before."""
    revoked = update(ApiKey).where(ApiKey.id == key_id, ApiKey.revoked_at.is_(None)).values(revoked_at=now_s())
    if session.execute(revoked.returning(ApiKey.id)).scalar() is None:
        raise NotFound(f"There is no key {key_id!r}, or it is revoked already.")
    return session.get_one(ApiKey, key_id, populate_existing=True)


def digest(text: str) -> str:
    """What is kept of a key's text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _with_clock(session: Session, key_id: str) -> tuple[ApiKey | None, float]:
    """The row, and the database's clock; the same query whether there is such a row or not."""
    found = session.execute(select(ApiKey, now_s()).where(ApiKey.id == key_id)).one_or_none()
    return (None, 0.0) if found is None else (found[0], found[1])
