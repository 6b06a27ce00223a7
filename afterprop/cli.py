"""The `afterprop` command. Exit codes: 0 done, 1 job failed, 2 usage or 4xx, 3 unreachable, 130 interrupted."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from afterprop import dataset_commands, key_commands
from afterprop.care_commands import backup, doctor, restore
from afterprop.terminal import (
    FAILED,
    INTERRUPTED,
    UNREACHABLE,
    USAGE,
    AsJson,
    JobId,
    SpecFile,
    answer,
    answer_status,
    client,
    console,
    print_json,
    read_or_exit,
)
from afterprop.verify_commands import verify, verify_resume

if TYPE_CHECKING:
    from afterprop.answers import Job
    from afterprop.client import Client

# Whatever takes long to import is imported where it is used: the command starts in a blink.

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Training as a service for every learning rule. The service is at AFTERPROP_URL (http://127.0.0.1:8000).",
)


app.command()(backup)
app.command()(restore)
app.command()(doctor)
app.command()(verify)
app.add_typer(key_commands.app, name="keys")
app.add_typer(dataset_commands.app, name="datasets")
app.command("verify-resume")(verify_resume)


@app.command()
def up(
    state_dir: Annotated[
        Path, typer.Option(envvar="AFTERPROP_STATE_DIR", help="Database, broker, artifacts, logs.")
    ] = Path("run"),
    data_dir: Annotated[
        Path | None,
        typer.Option(envvar="AFTERPROP_DATA_DIR", exists=True, file_okay=False, help="Your own data; only read."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    workers: Annotated[int, typer.Option(min=0, max=64, help="Worker processes.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Run the whole service here, in the foreground, until Ctrl-C."""
    import os
    import signal

    from afterprop.address import PortTaken
    from afterprop.broker import BrokerMissing
    from afterprop.stack import CannotStart, Options, Stack
    from afterprop.state_folder import FolderInUse

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def ready(url: str) -> None:
        plain = f"Afterprop is ready: {url}  (API: {url}/docs; stop with Ctrl-C)"
        print(json.dumps({"url": url, "pid": os.getpid()}) if as_json else plain, flush=True)

    options = Options(state_dir=state_dir, data_dir=data_dir, host=host, port=port, workers=workers)
    try:
        stopped_by = Stack(options, say=say).run(ready=ready)
    except (FolderInUse, PortTaken) as error:
        say(str(error))
        raise typer.Exit(USAGE) from None
    except (CannotStart, BrokerMissing) as error:
        say(str(error))
        raise typer.Exit(UNREACHABLE) from None
    if stopped_by == signal.SIGINT:
        raise typer.Exit(INTERRUPTED)


@app.command()
def submit(
    file: SpecFile,
    watch: Annotated[bool, typer.Option("--watch", help="Follow the job to its end.")] = False,
    idempotency_key: Annotated[str | None, typer.Option(help="The same key never makes two jobs.")] = None,
    as_json: AsJson = False,
) -> None:
    """Post a job."""
    spec = read_or_exit(file)
    with client() as service:
        job = service.jobs.create(spec, idempotency_key=idempotency_key)
        if watch:
            follow_to_the_end(service, job, as_json=as_json)
        else:
            answer(job, as_json=as_json, text=job["id"])
            warn_without_worker(job)


@app.command()
def estimate(file: SpecFile, as_json: AsJson = False) -> None:
    """Say what a job would need, without training it. Exit code 1: it does not fit."""
    from afterprop.estimating import tell

    with client() as service:
        raise typer.Exit(tell(service.estimate(read_or_exit(file)), console=console(), as_json=as_json))


@app.command()
def compare(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A comparison: JSON, YAML, or - for standard input.")],
    detach: Annotated[bool, typer.Option("--detach", help="Print its id instead of waiting for the answer.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write the answer as one HTML page.")] = None,
    bundle: Annotated[Path | None, typer.Option(help="Write specs, rows, receipts and protocol as a zip.")] = None,
    idempotency_key: Annotated[str | None, typer.Option(help="The same key never makes two comparisons.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare learners on one network and data set, and wait for the answer."""
    spec = read_or_exit(file)
    with client() as service:
        made = service.comparisons.create(spec, idempotency_key=idempotency_key)
        if detach:
            answer(made, as_json=as_json, text=made["id"])
            return
        ended = wait_for_answer(service, made, as_json=as_json)
        if html is not None:
            service.comparisons.page(ended["id"], to=html)
        if bundle is not None:
            service.comparisons.bundle(ended["id"], to=bundle)
    if ended["status"] != "succeeded":
        raise typer.Exit(FAILED)


@app.command("watch")
def watch_job(job_id: JobId, as_json: AsJson = False) -> None:
    """Follow a job to its end."""
    with client() as service:
        follow_to_the_end(service, service.jobs.retrieve(job_id), as_json=as_json)


@app.command()
def show(job_id: JobId, as_json: AsJson = False) -> None:
    """Show a job: where it stands, its result, its bill, and what is wrong with it."""
    with client() as service:
        job = service.jobs.retrieve(job_id)
        verdicts = service.jobs.verdicts(job_id)
        if as_json:
            print_json({**job, "verdicts": verdicts})
            return
        from afterprop.printing import print_job, print_verdicts

        print_job(job, url=service.url, console=console())
        print_verdicts(verdicts, console=console())


@app.command("list")
def list_jobs(
    status: Annotated[str | None, typer.Option(help="Only jobs of this status.")] = None,
    learner: Annotated[str | None, typer.Option(help="Only jobs of this learner.")] = None,
    network: Annotated[str | None, typer.Option(help="Only jobs of this network.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most this many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    from itertools import islice

    with client() as service:
        found = service.jobs.list(status=status, learner=learner, network=network)
        jobs = list(islice(found, limit))
        if as_json:
            print_json(jobs)
            return
        from afterprop.printing import print_jobs

        print_jobs(jobs, console=console())


@app.command()
def cancel(job_id: JobId, as_json: AsJson = False) -> None:
    """End a job; nothing of it goes on."""
    with client() as service:
        answer_status(service.jobs.cancel(job_id), as_json=as_json)


@app.command()
def pause(job_id: JobId, as_json: AsJson = False) -> None:
    """Checkpoint a running job and free its place."""
    with client() as service:
        answer_status(service.jobs.pause(job_id), as_json=as_json)


@app.command()
def resume(job_id: JobId, as_json: AsJson = False) -> None:
    """Queue a paused job again; it goes on from its checkpoint."""
    with client() as service:
        answer_status(service.jobs.resume(job_id), as_json=as_json)


def wait_for_answer(service: "Client", made: dict[str, Any], *, as_json: bool) -> dict[str, Any]:
    """Show how far it is, then the answer."""
    from afterprop.comparing import ProgressLine, print_comparison

    try:
        ended = service.comparisons.wait(made["id"], seen=ProgressLine(console(stderr=True)))
    except KeyboardInterrupt:
        print(f"The comparison goes on: {service.url}/comparisons/{made['id']}", file=sys.stderr)
        raise
    if as_json:
        print_json(ended)
    else:
        print_comparison(ended, url=service.url, console=console())
    return ended


def warn_without_worker(job: "Job") -> None:
    reason = job.get("status_reason")
    if reason and reason["code"] == "no_worker_of_class":
        print(reason["message"], file=sys.stderr)


def follow_to_the_end(service: "Client", job: "Job", *, as_json: bool) -> None:
    """Show the job's events; exit 1 unless it succeeded."""
    from afterprop.printing import print_job
    from afterprop.watching import display_for, follow

    try:
        if as_json:
            for event in service.jobs.events(job["id"]):
                print_json({"sequence": event.sequence, "type": event.type, "content": event.content})
            ended = service.jobs.retrieve(job["id"])
            print_json(ended)
        else:
            warn_without_worker(job)
            [ended] = follow(service, [job], display=display_for(console(), [job]))
            print_job(ended, url=service.url, console=console())
    except KeyboardInterrupt:
        print(f"The job goes on: afterprop watch {job['id']}, or afterprop cancel {job['id']}", file=sys.stderr)
        raise
    if ended["status"] != "succeeded":
        error = ended.get("error")
        print(error["message"] if error else f"The job is {ended['status']}.", file=sys.stderr)
        raise typer.Exit(FAILED)


def main() -> None:
    """Run the command and turn every refusal into its exit code."""
    try:
        app()
    except Exception as error:  # the outer door: what is not ours is raised again
        from afterprop.errors import AfterpropError, ProblemError, ServiceFault

        if not isinstance(error, AfterpropError):
            raise
        if "--json" in sys.argv and isinstance(error, ProblemError):
            print(json.dumps(error.problem, ensure_ascii=False), file=sys.stderr)
        else:
            from afterprop.printing import print_error

            print_error(error, console=console(stderr=True))
        refused = isinstance(error, ProblemError) and not isinstance(error, ServiceFault)
        sys.exit(USAGE if refused else UNREACHABLE)


if __name__ == "__main__":
    main()
