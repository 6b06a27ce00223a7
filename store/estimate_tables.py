"""The table of estimates that were asked for: a question of the API, answered by a worker, forgotten after a while."""

from typing import Any

from sqlalchemy import JSON, String
from sqlalchemy.orm import Mapped, mapped_column

from store.tables import DEFAULT_PROJECT, Table


class EstimateRequest(Table):
    """A question, and its answer once it is there."""

    __tablename__ = "estimates"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    project: Mapped[str] = mapped_column(String(64), default=DEFAULT_PROJECT, server_default=DEFAULT_PROJECT)
    spec_sha256: Mapped[str] = mapped_column(String(64), index=True)
    resolved_spec: Mapped[dict[str, Any]]
    resource_class: Mapped[str] = mapped_column(String(8))
    created_at: Mapped[float]
    taken_at: Mapped[float | None]
    worker_id: Mapped[str | None] = mapped_column(String(40))
    answer: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
