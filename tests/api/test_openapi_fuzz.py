"""The OpenAPI document and the service say the same: thousands of requests made from it, all checks on.

``AFTERPROP_FUZZ_CASES`` is the least number of random cases, ``AFTERPROP_FUZZ_SEED`` repeats a run. Unless
``AFTERPROP_FUZZ_PHASES`` says otherwise, these are examples and random cases of every operation; ``make fuzz`` adds the
boundaries of every field and chains of requests, which take ten times as long.
"""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from store import probes, verdicts
from store.settings import Settings
from tests import lived_comparison
from tests.api import lived_job
from tests.api.conftest import NO_BROKER, migrated
from tests.api.serving import served

CASES = int(os.environ.get("AFTERPROP_FUZZ_CASES", "2000"))
SEED = int(os.environ.get("AFTERPROP_FUZZ_SEED", random.randrange(2**31)))
PHASES = os.environ.get("AFTERPROP_FUZZ_PHASES", "examples,fuzzing")
OPERATIONS = 73
FUZZED = 56  # operations with anything to draw: the others have one request each
HERE = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_no_request_made_from_the_document_finds_a_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings(state_dir=tmp_path / "state", broker_url=NO_BROKER)
    database = migrated(settings.resolved_database_url)
    ended = lived_job.succeeded(database, settings, findings=lived_job.FAULTS)
    compared = lived_comparison.answered(database, settings)
    lived_job.running(database)
    with database.reading() as session:
        verdict = verdicts.of_job(session, ended)[1].id
    with database.writing.begin() as session:
        probe = probes.create(session, ended, spec={"kind": "histogram", "rows": 256}).id
    database.dispose()
    with capsys.disabled():
        print(f"\nSchemathesis: at least {CASES} cases, seed {SEED} ", end="")
    with served(settings.state_dir, tmp_path / "api.log", AFTERPROP_ESTIMATE_WAIT_S="0.1") as (url, _):
        run = subprocess.run(
            command(url, tmp_path / "report.json"),
            cwd=tmp_path,
            env={
                **os.environ,
                "SCHEMATHESIS_HOOKS": "tests.api.fuzz_hooks",
                "FUZZ_JOB": ended,
                "FUZZ_COMPARISON": compared,
                "FUZZ_VERDICT": verdict,
                "FUZZ_PROBE": probe,
                "PYTHONPATH": root(),
            },
            capture_output=True,
            text=True,
        )
    (tmp_path / "schemathesis.log").write_text(run.stdout + run.stderr)
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["test_cases"]["generated"] >= CASES
    assert (report["failures"], report["errors"], report["filtered"]) == ([], [], 0)
    operations = report["operations"]
    assert operations["tested"] == operations["total"] == OPERATIONS
    assert operations["errored"] == 0
    assert "request_failed" not in (tmp_path / "api.log").read_text()
    with capsys.disabled():
        print(f"({report['test_cases']['generated']} in {report['running_time']:.0f} s) ", end="")


def command(url: str, report: Path) -> list[str]:
    examples = -(-CASES // FUZZED)
    options = ["--checks", "all", "--phases", PHASES, "--max-examples", str(examples), "--seed", str(SEED)]
    options.append("--continue-on-failure")
    files = ["--report", "json", "--report-json-path", str(report), "--no-color"]
    schemathesis = [str(Path(sys.executable).parent / "schemathesis"), "--config-file", str(HERE / "schemathesis.toml")]
    return [*schemathesis, "run", *options, *files, f"{url}/openapi.json"]


def root() -> str:
    return str(HERE.parents[1])
