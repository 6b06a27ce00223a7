"""Data sets of a service: files that are uploaded, and those that need no upload."""

from pathlib import Path
from typing import Any, final

from afterprop.transport import Transport

UPLOAD_S = 300.0
"""An answer comes when the file was inspected, which takes longer the longer it is."""


@final
class Datasets:
    """``/v1/datasets``."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def upload(self, file: Path, *, name: str | None = None) -> dict[str, Any]:
        """Uploads a csv, npz, parquet or safetensors file, or a zip of an image folder; the same bytes only once."""
        with file.open("rb") as content:
            dataset: dict[str, Any] = self._transport.upload(
                "/v1/datasets", content, query={"name": name or file.name}, timeout_s=UPLOAD_S
            ).json()
        return dataset

    def list(self) -> list[dict[str, Any]]:
        """The first page: what needs no upload, then the newest uploads."""
        found: list[dict[str, Any]] = self._transport.json("GET", "/v1/datasets")["data"]
        return found

    def retrieve(self, dataset_id: str) -> dict[str, Any]:
        """One upload."""
        dataset: dict[str, Any] = self._transport.json("GET", f"/v1/datasets/{dataset_id}")
        return dataset

    def delete(self, dataset_id: str) -> None:
        """Deletes an upload that nothing needs any more."""
        self._transport.json("DELETE", f"/v1/datasets/{dataset_id}")
