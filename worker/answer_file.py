"""The one answer of a process beside the jobs, in a file of its folder that is there whole or not at all."""

import json
from pathlib import Path
from typing import Any, Final

ANSWER: Final = "answer.json"
MAX_ANSWER_BYTES: Final = 4 << 20


def write(folder: Path, answer: dict[str, Any]) -> None:
    """What the process has to say; numbers that are not finite are refused."""
    unfinished = folder / f"{ANSWER}.unfinished"
    unfinished.write_text(json.dumps(answer, allow_nan=False))
    unfinished.replace(folder / ANSWER)


def read(folder: Path) -> dict[str, Any] | None:
    """The answer, or None where the process ended without one."""
    try:
        with (folder / ANSWER).open("rb") as file:
            answer: dict[str, Any] = json.loads(file.read(MAX_ANSWER_BYTES))
    except (OSError, ValueError):
        return None
    return answer
