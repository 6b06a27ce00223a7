"""The rules of the house that no linter knows."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LONGEST_FILE = 300
LISTED = subprocess.run(
    ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
)
TRACKED = [ROOT / name for name in LISTED.stdout.decode().split("\0") if name and (ROOT / name).is_file()]
ROOMS = ("afterprop", "api", "benchmarks", "learners", "specs", "store", "worker")
# Built in pieces, so that this file does not break its own rule.
PRIVATE = re.compile("|".join(("/wo" + "rk/", r"\.\./sha" + "red", r"\b(the|this) (assist" + "ant|pro" + r"mpt)\b")))
FOUND_BY_PROJECT = {
    *("jobs.get", "jobs.create", "listing.page", "comparisons.get", "comparisons.create", "comparisons.page"),
    *("workers.waiting", "estimates.ask", "estimates.of_spec", "idempotency.begin", "idempotency.finish"),
}
MAY_NAME_THE_DATA_FOLDER = {ROOT / ".ci" / "run"}


def python_files() -> list[Path]:
    rooms = [path.relative_to(ROOT) for path in TRACKED if path.suffix == ".py"]
    return [path for path in rooms if path.parts[0] in ROOMS]


@pytest.mark.parametrize("path", python_files(), ids=str)
def test_file_is_at_most_300_lines(path: Path) -> None:
    assert len((ROOT / path).read_text().splitlines()) <= LONGEST_FILE


def test_no_tracked_file_names_a_private_path_or_how_it_was_written() -> None:
    found = []
    for path in TRACKED:
        if path in MAY_NAME_THE_DATA_FOLDER or path.suffix in (".lock", ".png", ".gz", ".npz", ".parquet"):
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
            if PRIVATE.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert found == []


@pytest.mark.parametrize("module", ["api.app", "afterprop.cli", "afterprop.client", "store.jobs", "specs.job"])
def test_import_leaves_no_torch(module: str) -> None:
    program = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT, timeout=60)


def test_python_files_name_what_they_hold() -> None:
    vague = {"utils", "util", "helper", "helpers", "manager", "core", "common", "data", "info", "misc"}
    assert [path for path in python_files() if path.stem in vague] == []


def test_test_files_have_names_of_their_own() -> None:
    """Two of one name in folders without a package cannot be collected together."""
    names = [path.name for path in TRACKED if path.is_relative_to(ROOT / "tests") and path.suffix == ".py"]
    assert sorted(name for name in set(names) if names.count(name) > 1 and name != "conftest.py") == []


def test_the_door_asks_for_what_is_somebodys_by_project() -> None:
    """The store's functions that find by id see every project: workers need that, and no handler does."""
    found = []
    for path in sorted((ROOT / "api").rglob("*.py")):
        if path.name == "streams.py":  # what its handler has asked for by project already
            continue
        for call in ast.walk(ast.parse(path.read_text())):
            if not isinstance(call, ast.Call) or ast.unparse(call.func) not in FOUND_BY_PROJECT:
                continue
            if "project" not in {argument.arg for argument in call.keywords}:
                found.append(f"{path.relative_to(ROOT)}:{call.lineno}: {ast.unparse(call)}")
    assert found == []
