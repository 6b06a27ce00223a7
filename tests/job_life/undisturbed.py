"""The floors on which these tests run, and what an outlived disturbance must not have changed."""

from typing import Any

import pytest

from tests.job_life.floor import Floor

everywhere = pytest.mark.parametrize("floor", ["sqlite-fork", "postgresql-fork", "sqlite-spawn"], indirect=True)
with_either_launcher = pytest.mark.parametrize("floor", ["sqlite-fork", "sqlite-spawn"], indirect=True)
on_either_database = pytest.mark.parametrize("floor", ["sqlite-fork", "postgresql-fork"], indirect=True)


def finished_as_if_undisturbed(floor: Floor, job_id: str, undisturbed: dict[Any, Any], *, resumed: bool) -> None:
    floor.wait_for(job_id, "succeeded", timeout_s=90)
    attempts = floor.attempts(job_id)
    if resumed:
        assert len(attempts) >= 2
        assert all(attempt.resumed_from_step for attempt in attempts[1:] if attempt.trainer_pid)
    found = floor.mathematics(job_id)
    assert found["weights"] == undisturbed["weights"]
    different = [name for name in found | undisturbed if found.get(name) != undisturbed.get(name)]
    assert not different, floor.attempts(job_id)
