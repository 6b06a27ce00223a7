"""The process that inspects an uploaded file: ``python -m specs.uploads PATH FORMAT``, JSON on standard output.

It may use little memory and time and write nothing, whatever the file does to a parser.
"""

import json
import resource
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Final

from specs.uploads import inspect
from specs.uploads.findings import Unfit

MAX_MEMORY_BYTES: Final = 512 << 20
MAX_CPU_S: Final = 120


def main() -> int:
    """Writes ``{"contents": ...}`` or ``{"unfit": {"code", "message", "findings"}}``."""
    for limit, most in (
        (resource.RLIMIT_AS, MAX_MEMORY_BYTES),
        (resource.RLIMIT_CPU, MAX_CPU_S),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (most, most))
    try:
        answer: dict[str, object] = {"contents": asdict(inspect(Path(sys.argv[1]), sys.argv[2]))}
    except Unfit as error:
        answer = {"unfit": {"code": error.code, "message": str(error), "findings": error.findings}}
    except MemoryError:
        answer = {"unfit": {"code": "too_large", "message": "reading the file's head took too much memory"}}
    json.dump(answer, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
