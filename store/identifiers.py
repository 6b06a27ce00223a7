"""Prefixed, time-ordered identifiers: ``job_``, ``evt_``, ``ckpt_`` ... and a UUIDv7."""

import re

import uuid_utils

_FORM = re.compile(r"[a-z]{2,4}_[0-9a-f]{32}")


def new_id(prefix: str) -> str:
    """A fresh identifier; later ones sort after earlier ones."""
    return f"{prefix}_{uuid_utils.uuid7().hex}"


def is_id(text: str, prefix: str) -> bool:
    """Whether ``text`` has the form of an identifier of that kind."""
    return text.startswith(f"{prefix}_") and _FORM.fullmatch(text) is not None
