"""What the verdicts are worth: ``python -m benchmarks.faults [--half tuning] [--only NAME] [--keep]``.

Jobs that go wrong on purpose, and healthy ones, of every learner over networks, optimizers and data. The rules' limits
were set on the tuning half alone; the scoring half says how many faults are named, in the right layer, how soon, and
how many healthy runs are accused. Then the first remedy of each faulty run is applied, and beside it a placebo, a
remedy of another verdict: a run is cured where the verdict is gone and the loss on the test rows is within the margin
of the healthy run's. Halves are fixed by a hash of the names. NaN that is put into a layer must be found there.
"""

import argparse
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.faults import files, table
from benchmarks.faults.bases import BASES
from benchmarks.faults.cures import Prescription, first_remedy, is_as_good, is_cured, placebo, prescriptions
from benchmarks.faults.judging import Said, served_first, verdicts
from benchmarks.faults.origins import INJECTIONS, STEP, found_at
from benchmarks.faults.scenario import Half, Scenario, seeded
from benchmarks.faults.scoring import Row, figures, row, share
from benchmarks.faults.suite import FAULTY, HEALTHY
from benchmarks.faults.trial import Trial, run
from benchmarks.measuring import keep


@dataclass
class Ward:
    """All runs of one half, in one folder."""

    folder: Path
    trials: dict[str, Trial] = field(default_factory=dict)
    said: dict[str, list[Said]] = field(default_factory=dict)
    twins: dict[str, Trial] = field(default_factory=dict)

    def admit(self, scenario: Scenario) -> None:
        """Trains a run and hears its verdicts."""
        self.trials[scenario.name] = run(scenario.posted, self.folder)
        self.said[scenario.name] = verdicts(self.trials[scenario.name])
        if scenario.fault is not None and scenario.fault.base not in self.twins:
            self.twins[scenario.fault.base] = run(seeded(BASES[scenario.fault.base], 0), self.folder)

    def examine(self, scenario: Scenario) -> Row:
        """What was said of a faulty run."""
        assert scenario.fault is not None
        twin = self.twins[scenario.fault.base]
        harmed = not is_as_good(self.trials[scenario.name], twin)
        return row(scenario, self.said[scenario.name], harmed=harmed)

    def treat(self, scenario: Scenario, found: Row, pool: list[Prescription]) -> None:
        """The first remedy, and beside it a placebo."""
        spec = self.trials[scenario.name].spec
        given = first_remedy(self.said[scenario.name])
        if given is None:
            return
        found.remedy, found.cured = given.remedy.title, self._cures(scenario, given, given.code)
        other = placebo(scenario.name, spec, given, pool)
        if other is not None:
            found.placebo, found.placebo_cured = other.remedy.title, self._cures(scenario, other, given.code)

    def _cures(self, scenario: Scenario, prescription: Prescription, code: str) -> bool:
        assert scenario.fault is not None
        trial = run(prescription.applied(self.trials[scenario.name].spec), self.folder)
        return is_cured(code, trial, verdicts(trial), self.twins, scenario.fault.base)


def measure(half: Half, folder: Path, only: str) -> dict[str, Any]:
    """Trains, judges and treats every run of the half."""
    begun = time.process_time()
    faulty, healthy = _of(FAULTY, half, only), _of(HEALTHY, half, only)
    ward = Ward(folder)
    for scenario in (*faulty, *healthy):
        ward.admit(scenario)
        print(f"{scenario.name:56s} {_names(ward.said[scenario.name])}", flush=True)
    suite_s = time.process_time() - begun
    rows = [ward.examine(scenario) for scenario in faulty]
    pool = [each for scenario in faulty for each in prescriptions(ward.said[scenario.name])]
    for scenario, found in zip(faulty, rows, strict=True):
        ward.treat(scenario, found, pool)
        print(_line(found), flush=True)
    alarms = {each.name: _names(ward.said[each.name]) for each in healthy if ward.said[each.name]}
    counted = figures(rows, alarms, len(healthy))
    return {"cpu_s": round(suite_s, 1), "cpu_s_with_cures": round(time.process_time() - begun, 1), **counted}


def _of(scenarios: Iterable[Scenario], half: Half, only: str) -> list[Scenario]:
    return [each for each in scenarios if each.half == half and only in each.name]


def _names(said: list[Said]) -> str:
    return ", ".join(f"{each.code} in {each.layer or 'network'} @{each.step}" for each in served_first(said))


def _line(found: Row) -> str:
    mark = "named " if found.named else "MISSED"
    cured = {True: "cured", False: "not cured", None: "no remedy"}[found.cured]
    beside = {True: "cured", False: "not cured", None: "none"}[found.placebo_cured]
    return f"{mark} {found.name:52s} {found.served} | {found.remedy}: {cured} | placebo: {beside}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--half", choices=["tuning", "scoring"], default="scoring")
    parser.add_argument("--only", default="", help="runs whose name holds this")
    parser.add_argument("--keep", action="store_true", help="write the figures into benchmarks/results")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files.write(folder / "data")
        found = measure(given.half, folder, given.only)
        exact = sum(found_at(each, folder) == (each.layer, each.tensor, STEP + 1) for each in INJECTIONS)
    found["nan_origin_exact"] = share(exact, len(INJECTIONS))
    for figure, value in found.items():
        if figure != "rows":
            print(f"{figure:30s} {value}")
    if given.keep:
        path = keep(f"faults/{given.half}", found)
        table.write(path, path.with_name("faults.md"))
        print("kept in", path)


if __name__ == "__main__":
    main()
