"""`afterprop keys` at the machine, and the commands of a service that asks for keys."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.api.serving import served


def afterprop(*arguments: str, **environment: str) -> Any:
    kept = {name: value for name, value in os.environ.items() if name != "AFTERPROP_API_KEY"}
    return subprocess.run(
        [sys.executable, "-m", "afterprop.cli", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        env={**kept, **environment},
        check=False,
    )


@pytest.mark.service
def test_the_first_key_is_made_at_the_machine_and_the_others_with_it(tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    first = afterprop("keys", "create", "--scope", "admin", "--state-dir", state)
    assert first.returncode == 0, first.stderr
    admin = first.stdout.strip()
    with served(Path(state), tmp_path / "api.log", AFTERPROP_KEYS="required") as (url, _):
        without = afterprop("list", AFTERPROP_URL=url)
        assert (without.returncode, "key" in without.stderr.lower()) == (2, True)
        here = {"AFTERPROP_URL": url, "AFTERPROP_API_KEY": admin}
        made = json.loads(afterprop("keys", "create", "--project", "vision", "--json", **here).stdout)
        assert (made["project"], made["scopes"]) == ("vision", ["write"])
        assert afterprop("keys", "revoke", made["id"], **here).returncode == 0
        listed = json.loads(afterprop("keys", "list", "--json", "--state-dir", state).stdout)
        assert [(key["project"], key["revoked_at"] is None) for key in listed] == [("vision", False), ("default", True)]
        assert afterprop("list", AFTERPROP_URL=url, AFTERPROP_API_KEY=made["key"]).returncode == 2
