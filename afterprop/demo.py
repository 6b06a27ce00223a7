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
from rich.table import Table
from rich.text import Text

from afterprop import leash
from afterprop.answers import Job
from afterprop.client import Client
from afterprop.errors import AfterpropError
from afterprop.printing import energy_of, kind_of, number, peak_of, print_error, scaled, score_of
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
    return follow(client, jobs, display=display_for(console))


def results_table(jobs: list[Job]) -> Table:
    table = Table(
        "job", "learner", "network", "test score", "seconds", "FLOP", "peak memory", "energy", title="Results"
    )
    for job in jobs:
        cost: Any = (job.get("result") or {}).get("cost") or {}
        table.add_row(
            Text(job.get("name") or job["id"]),
            kind_of(job, "learner"),
            kind_of(job, "network"),
            score_of(job) or Text(job["status"], style="red"),
            number(cost.get("wall_s")),
            scaled(cost.get("flops")),
            peak_of(job),
            Text(energy_of(job)),
        )
    return table


def alignment_table(client: Client, jobs: list[Job]) -> Table:
    """Per learner and layer: the mean cosine between what was learned from and the true gradient."""
    table = Table("job", "layer", "mean cosine", "expected", title="Alignment with backpropagation")
    for job in jobs:
        for layer, mean, expected in alignments(client, job["id"]):
            table.add_row(Text(job.get("name") or job["id"]), layer, number(mean), number(expected))
    return table


def alignments(client: Client, job_id: str) -> list[tuple[str, float | None, float | None]]:
    """(layer, mean cosine, expected cosine) of a job, in network order."""
    layers = client.jobs.diagnostics(job_id).get("layers") or []
    found = []
    for layer in layers:
        alignment = layer.get("alignment") or {}
        found.append((str(layer.get("layer")), alignment.get("mean"), alignment.get("expected")))
    return found


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
                console.print(results_table(jobs))
                console.print(alignment_table(client, jobs))
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
