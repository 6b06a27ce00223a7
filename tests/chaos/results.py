"""The page of results, a pytest plugin: ``pytest -p tests.chaos.results --chaos-results=PAGE.md tests/chaos``."""

import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

_HEAD = """# What the service survived

`make chaos` measures this and writes it. Every test keeps a history of what clients were told and of what was killed,
and holds it against the end: every acknowledged job is there and has ended once, statuses follow the diagram, a result
is recorded once, events and attempts have no gap, files have the digests of their rows.

"""


@dataclass(frozen=True)
class _Row:
    numbers: list[str]
    claim: str
    database: str
    done: str
    found: str
    outcome: str
    seconds: float

    def line(self) -> str:
        cells = (", ".join(self.numbers), self.database, self.claim, self.done, self.found, self.outcome)
        return "| " + " | ".join((*cells, f"{self.seconds:.0f}")) + " |"


class _Page:
    """Collects the tests of a session that are marked with rows of the fault table."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: list[_Row] = []
        self._began = time.monotonic()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        properties: dict[str, Any] = dict(report.user_properties)
        if "rows" not in properties or not (report.when == "call" or report.outcome != "passed"):
            return
        claim = report.nodeid.rpartition("::")[2].partition("[")[0].removeprefix("test_").replace("_", " ")
        self._rows.append(
            _Row(
                properties["rows"],
                claim,
                properties.get("database", ""),
                properties.get("done", ""),
                properties.get("found", ""),
                report.outcome,
                report.duration,
            )
        )

    def pytest_sessionfinish(self) -> None:
        minutes = (time.monotonic() - self._began) / 60
        here = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
        scale = os.environ.get("AFTERPROP_CHAOS_SCALE", "0.2")
        text = _HEAD + f"Scale {scale}; {minutes:.0f} minutes in all; {here}.\n\n"
        text += "| row | database | claim | done | measured | outcome | s |\n|---|---|---|---|---|---|---|\n"
        self._rows.sort(key=lambda row: (int(row.numbers[0].removeprefix("T")), row.claim, row.database))
        self._path.write_text(text + "\n".join(row.line() for row in self._rows) + "\n")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--chaos-results", type=Path, help="the page that is written when all is over")


def pytest_configure(config: pytest.Config) -> None:
    path = config.getoption("--chaos-results")
    if path is not None:
        config.pluginmanager.register(_Page(path))
