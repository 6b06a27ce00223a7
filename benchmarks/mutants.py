"""Mutation score of the claim, the fence and the keys: ``python -m benchmarks.mutants [NAME ...] [--processes 2]``.

Every mutant is one change of a module's syntax tree: a comparison or a boolean turned round, an operator or a constant
changed, a statement or an argument left out. It is killed if a test of the module fails. Left alone are docstrings,
annotations, and constants that are sentences: what a person reads is no fence.

A mutant runs in a fork of a process that has imported the libraries, and nothing of the house but the ground.
"""

import argparse
import importlib.abc
import importlib.machinery
import importlib.util
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from benchmarks.measuring import keep
from benchmarks.mutations import Mutant, mutants

ROOT = Path(__file__).parents[1]
LONGEST_S = 120
SURVIVED = 0

# Imported before the forks, so that no mutant waits for them.
LIBRARIES = (
    "alembic.command", "celery", "fastapi.testclient", "httpx2", "kombu", "numpy", "pydantic",
    "pydantic_settings", "pytest", "sqlalchemy.dialects.postgresql", "sqlalchemy.dialects.sqlite", "sqlalchemy.orm",
    "structlog", "uuid_utils",  "specs.job", "specs.comparisons", "specs.recipes",
)  # fmt: skip


@dataclass(frozen=True)
class Subject:
    """Modules that belong together, and the tests that must find every change of them, quick ones first."""

    modules: tuple[str, ...]
    tests: tuple[str, ...]
    selection: str = "not postgresql"


QUICK_KEYS = "not postgresql and not in_the_address and not takes_as_long"
SUBJECTS = {
    "claim_and_fence": Subject(
        ("store/attempts.py", "store/settlement.py", "store/turns.py"),
        ("tests/store/test_fences.py", "tests/store/test_life_of_a_job.py", "tests/store/test_turns.py"),
    ),
    "leases": Subject(
        ("store/leases.py",), ("tests/store/test_probe_rows.py", "tests/store/test_verification_rows.py")
    ),
    "keys": Subject(("store/keys.py", "api/callers.py"), ("tests/api/test_keys.py",), QUICK_KEYS),
    "bad_keys": Subject(
        ("api/bad_keys.py",), ("tests/api/test_bad_key_rate.py", "tests/api/test_keys.py"), "bad_key or household"
    ),
    "admission": Subject(("api/admission.py",), ("tests/api/test_keys.py",), QUICK_KEYS),
}
EQUIVALENT: dict[str, str] = {
    "api/bad_keys.py:wait_s: without `maxlen=` in `deque`": "nothing is appended to a full one",
}
"""Mutants that no test can tell from the original, and why."""


class Mutated(importlib.machinery.SourceFileLoader):
    """Loads a module from other code than its file's."""

    def __init__(self, name: str, path: str, code: CodeType) -> None:
        super().__init__(name, path)
        self._code = code

    def get_code(self, _fullname: str) -> CodeType:
        return self._code


class Instead(importlib.abc.MetaPathFinder):
    """Finds one module as a mutant."""

    def __init__(self, mutant: Mutant) -> None:
        self._name = mutant.module.removesuffix(".py").replace("/", ".")
        self._path = str(ROOT / mutant.module)
        self._code = compile(mutant.tree, self._path, "exec")

    def find_spec(self, fullname: str, _path: Any, _target: ModuleType | None = None) -> Any:
        if fullname != self._name:
            return None
        loader = Mutated(fullname, self._path, self._code)
        return importlib.util.spec_from_file_location(fullname, self._path, loader=loader)


def killed(found: Sequence[Mutant | None], subject: Subject, *, processes: int) -> list[bool]:
    """Whether a test of the subject fails, or does not end, for each; None is the module as it stands."""
    dead: dict[int, bool] = {}
    waiting = list(enumerate(found))[::-1]
    running: dict[int, tuple[int, float]] = {}
    while waiting or running:
        while waiting and len(running) < processes:
            place, mutant = waiting.pop()
            child = os.fork()
            if child == 0:
                _run(mutant, subject)
            running[child] = place, time.monotonic() + LONGEST_S
        for child, (place, deadline) in list(running.items()):
            ended, status = os.waitpid(child, os.WNOHANG)
            if not ended and time.monotonic() > deadline:
                os.killpg(child, signal.SIGKILL)
                ended, status = os.waitpid(child, 0)
            if ended:
                dead[place] = os.waitstatus_to_exitcode(status) != SURVIVED
                if not dead[place]:
                    print(f"  survived: {found[place]}", flush=True)
                del running[child]
        time.sleep(0.02)
    return [dead[place] for place in range(len(found))]


def _run(mutant: Mutant | None, subject: Subject) -> None:
    """In the fork: the tests, with the mutant in the module's place."""
    code = 1
    try:
        os.setsid()
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        if mutant is not None:
            sys.meta_path.insert(0, Instead(mutant))
        import pytest

        options = [
            "-W",
            "ignore::pytest.PytestAssertRewriteWarning",
            "-x",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:xdist",
            "-k",
            subject.selection,
        ]
        code = int(pytest.main([*options, *(test for test in subject.tests if (ROOT / test).exists())]))
    finally:
        os._exit(code)


def measure(name: str, subject: Subject, processes: int) -> dict[str, Any]:
    """Every mutant of the subject, and those that nobody noticed."""
    if killed([None], subject, processes=1)[0]:
        raise SystemExit(f"{name}: the tests fail without any change")
    found = [mutant for module in subject.modules for mutant in mutants(module, (ROOT / module).read_text())]
    dead = killed(found, subject, processes=processes)
    survivors = [str(mutant) for mutant, noticed in zip(found, dead, strict=True) if not noticed]
    equivalent = [survivor for survivor in survivors if survivor in EQUIVALENT]
    told_apart = len(found) - len(equivalent)
    score = sum(dead) / told_apart
    print(f"{name}: {sum(dead)} of {told_apart} killed, {100 * score:.1f} %; {len(equivalent)} equivalent", flush=True)
    for survivor in survivors:
        print(
            f"  {survivor}" + (f"  (equivalent: {EQUIVALENT[survivor]})" if survivor in EQUIVALENT else ""), flush=True
        )
    return {
        "mutants": len(found),
        "killed": sum(dead),
        "equivalent": len(equivalent),
        "score": round(score, 4),
        "survivors": [survivor for survivor in survivors if survivor not in EQUIVALENT],
    }


def _warm_up() -> Iterator[str]:
    for name in LIBRARIES:
        importlib.import_module(name)
        yield name


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", default=list(SUBJECTS), metavar="NAME", help=", ".join(SUBJECTS))
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    chosen = parser.parse_args()
    os.chdir(ROOT)
    list(_warm_up())
    figures = {name: measure(name, SUBJECTS[name], chosen.processes) for name in chosen.names}
    print(f"kept in {keep('mutants', figures)}")


if __name__ == "__main__":
    main()
