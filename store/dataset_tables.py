"""The table of uploaded data sets; their files lie in the state folder (see ``uploaded_files``)."""

from typing import Any

from sqlalchemy import BigInteger, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from store.tables import DEFAULT_PROJECT, Table


class Dataset(Table):
    """An upload of a project: its label, what kind of file it is, and what was found in it before it was parsed."""

    __tablename__ = "datasets"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    project: Mapped[str] = mapped_column(String(64), default=DEFAULT_PROJECT, server_default=DEFAULT_PROJECT)
    name: Mapped[str]
    format: Mapped[str] = mapped_column(String(16))
    sha256: Mapped[str] = mapped_column(String(64))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    contents: Mapped[dict[str, Any]]
    created_at: Mapped[float]

    __table_args__ = (UniqueConstraint("project", "sha256", "format"),)
