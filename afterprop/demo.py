"""The demo: the whole service on this machine, three jobs through it, and one table of what came of them."""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from afterprop import leash
from afterprop.answers import Job
from afterprop.client import Client
from afterprop.errors import AfterpropError
from afterprop.printing import kind_of, number, peak_of, print_error, scaled, score_of
from afterprop.spec_file import read_spec
from afterprop.watching import display_for, follow

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
JOBS = ("backprop_digits", "forward_forward_digits", "liquid_event_xor")
STOP_WITHIN_S = 40.0


class NotReady(Exception):
    """The service did not start; what it said stands above."""


@contextlib.contextmanager
def service(state_dir: Path) -> Iterator[str]:
    """`afterprop up` on a free port, on a leash, stopped at the end; its address."""
    command = [sys.executable, "-m", "afterprop.cli", "up", "--port", "0", "--json", "--state-dir", str(state_dir)]
    on_leash = [sys.executable, "-S", leash.__file__, str(os.getpid()), str(int(signal.SIGTERM)), *command]
    with subprocess.Popen(
        on_leash, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise NotReady(NotReady.__doc__)
            yield json.loads(line)["url"]
        finally:
            process.terminate()
            try:
                process.wait(STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()


def run_jobs(client: Client, console: Console) -> list[Job]:
    """Post the three jobs and follow them to their ends."""
    jobs = [client.jobs.create(read_spec(str(EXAMPLES / f"{name}.yaml"))) for name in JOBS]
    for job in jobs:
        console.print(f"Posted {job['id']}  {job.get('name')}", highlight=False, markup=False)
    return follow(client, jobs, display=display_for(console, jobs))


def results_table(client: Client, jobs: list[Job]) -> Table:
    """A column per job: score, bill, and how far each layer's signal points along the true gradient."""
    rows: dict[str, dict[str, str]] = {}
    for job in jobs:
        for name, value in results(client, job).items():
            rows.setdefault(name, {})[job["id"]] = value
    table = Table(Column("", no_wrap=True), *(escape(job.get("name") or job["id"]) for job in jobs), title="Results")
    for name, values in rows.items():
        table.add_row(name, *(values.get(job["id"], "") for job in jobs))
    return table


def results(client: Client, job: Job) -> dict[str, str]:
    """What the table shows of a job. The alignment is the mean over all probed steps."""
    cost: Any = (job.get("result") or {}).get("cost") or {}
    joules = (cost.get("energy") or {}).get("joules")
    shown = {
        "learner, network": f"{kind_of(job, 'learner')}, {kind_of(job, 'network')}",
        "test rows": score_of(job) or job["status"],
        "seconds": number(cost.get("wall_s")),
        "FLOP": scaled(cost.get("flops")),
        "peak memory": peak_of(job),
        "joules": "none (see below)" if joules is None else number(joules),
    }
    for layer in client.jobs.diagnostics(job["id"])["layers"]:
        alignment = layer.get("alignment") or {}
        if alignment.get("mean") is not None:
            shown[f"alignment {layer['layer']}"] = f"{alignment['mean']:.3f}"
    return shown


def reasons_without_joules(jobs: list[Job]) -> set[str]:
    energies: list[Any] = [((job.get("result") or {}).get("cost") or {}).get("energy") or {} for job in jobs]
    return {str(energy.get("reason")) for energy in energies if energy.get("joules") is None}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the service running until Ctrl-C")
    arguments = parser.parse_args()
    console = Console()
    started = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="afterprop-demo-") as folder, service(Path(folder)) as url:
            console.print(f"The service is ready after {time.monotonic() - started:.1f} s: {url}", highlight=False)
            with Client(url) as client:
                jobs = run_jobs(client, console)
                console.print(results_table(client, jobs))
                for reason in reasons_without_joules(jobs):
                    console.print(f"No joules: {reason}", highlight=False, markup=False)
                console.print("Alignment: mean cosine between a layer's learning signal and the true gradient.")
            console.print(f"{time.monotonic() - started:.1f} s in all.", highlight=False)
            print_links(url, jobs, console=console, keep=arguments.keep)
            if arguments.keep:
                with contextlib.suppress(KeyboardInterrupt):
                    signal.pause()
    except KeyboardInterrupt:
        return 130
    except (AfterpropError, NotReady) as error:
        print_error(error, console=console)
        return 3
    return 0 if all(job["status"] == "succeeded" for job in jobs) else 1


def print_links(url: str, jobs: list[Job], *, console: Console, keep: bool) -> None:
    links = [f"{url}/docs", *(f"{url}/jobs/{job['id']}" for job in jobs)]
    console.print("\n".join(links), highlight=False, markup=False, soft_wrap=True)
    closing = (
        "The service runs until Ctrl-C." if keep else "The service stops now; `make demo KEEP=1` leaves it running."
    )
    console.print(closing)


if __name__ == "__main__":
    sys.exit(main())
