"""Every sentence of the promise names a test that is there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
ROWS = [
    line
    for line in (ROOT / "GUARANTEES.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith("| guarantee")
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[2:60])
def test_guarantee_names_tests_that_exist(row: str) -> None:
    proofs = NAMED.findall(row)
    assert proofs
    for file, name in proofs:
        defined = {node.name for node in ast.parse((ROOT / file).read_text()).body if isinstance(node, ast.FunctionDef)}
        assert name in defined, f"{file} has no {name}"
