"""A comparison as an archive that can be cited: specs, rows, receipts, protocol, answer."""

import io
import json
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any

from api.comparison_answers import ComparisonAnswer, as_csv
from store.comparisons import Row

EPOCH = (1980, 1, 1, 0, 0, 0)
"""Of every entry: equal comparisons give equal archives."""


def bundle(answer: ComparisonAnswer, rows: Sequence[Row], receipts: dict[str, dict[str, Any] | None]) -> bytes:
    """The archive."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, text in _files(answer, rows, receipts):
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, text)
    return target.getvalue()


def _files(
    answer: ComparisonAnswer, rows: Sequence[Row], receipts: dict[str, dict[str, Any] | None]
) -> Iterator[tuple[str, str]]:
    yield "README.txt", _about(answer)
    yield "comparison.json", _json(answer.model_dump(mode="json"))
    yield "spec.json", _json(answer.resolved_spec)
    yield "rows.csv", as_csv(rows)
    for run in rows:
        if run.job_id is None:
            continue
        yield f"specs/{run.stage}/{run.job_id}.json", _json(run.settings)
        if receipts.get(run.job_id):
            yield f"receipts/{run.stage}/{run.job_id}.json", _json(receipts[run.job_id])


def _about(answer: ComparisonAnswer) -> str:
    protocol = (answer.result or {}).get("protocol", [])
    warnings = (answer.result or {}).get("warnings", [])
    lines = [
        f"Comparison {answer.id}: {answer.name or 'without a name'}",
        answer.sentence or f"It is {answer.status}: there is no answer{' yet' if answer.phase == 'active' else ''}.",
        "",
        "comparison.json  everything that the service says of it: statistics, bills, curves",
        "spec.json        what to post to run it again: POST /v1/comparisons",
        "rows.csv         one line for each job and figure",
        "specs/           the job of each run, whole",
        "receipts/        versions, hashes and seeds under which each run's numbers were made",
        "",
        "Protocol",
        *(f"- {line}" for line in protocol),
        *(["", "To be read with", *(f"- {line}" for line in warnings)] if warnings else []),
    ]
    return "\n".join(lines) + "\n"


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
