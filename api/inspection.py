"""Inspecting an uploaded file, in a process with limits of its own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from api.errors import Refused
from api.problems import ProblemItem
from specs.uploads import check_magic
from specs.uploads.findings import Unfit

INSPECTION_S: Final = 180.0
_ENVIRONMENT: Final = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"}
"""Nothing of ours: no address, no password."""
_ROOT = Path(__file__).resolve().parent.parent


def inspected(path: Path, kind: str) -> dict[str, Any]:
    """What the file claims to hold. Refused with 422 where it cannot be used."""
    try:
        with path.open("rb") as file:
            check_magic(file.read(8), kind)  # most refusals need no process
    except Unfit as error:
        raise unfit(error.code, str(error), []) from None
    command = [sys.executable, "-P", "-m", "specs.uploads", str(path), kind]
    environment = {**_ENVIRONMENT, "PYTHONPATH": str(_ROOT)}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, timeout=INSPECTION_S, check=True, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise unfit("too_slow", "reading the file took too long", []) from None
    except subprocess.CalledProcessError:
        raise unfit("unreadable", "reading the file broke the process that tried", []) from None
    answer = json.loads(done.stdout)
    if "unfit" in answer:
        raise unfit(**answer["unfit"])
    contents: dict[str, Any] = answer["contents"]
    return contents


def unfit(code: str, message: str, findings: list[dict[str, Any]]) -> Refused:
    """422; findings point to a row (from 1, after the header) and a column."""
    items = [
        ProblemItem(
            pointer=f"/rows/{each['row']}",
            code=code,
            detail=f"{each['column'] or 'the row'}: {each['detail']}"[:200],
        )
        for each in findings
    ] or [ProblemItem(pointer="", code=code, detail=message[:300])]
    return Refused("unfit_file", message, errors=items)
