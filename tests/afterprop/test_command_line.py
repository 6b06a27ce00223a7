"""The `afterprop` command without a service: start time, files that it refuses, exit codes."""

import http.server
import io
import json
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from afterprop.printing import print_problem
from afterprop.spec_file import UnreadableSpec, parse, read_spec

PROBLEM = {
    "type": "/errors/validation",
    "title": "The request is not valid",
    "status": 422,
    "code": "validation",
    "detail": "1 error",
    "errors": [{"pointer": "/learner/kind", "code": "literal", "detail": "no such learner", "allowed": ["backprop"]}],
}


def afterprop(*arguments: str, url: str = "http://127.0.0.1:9", text: str | None = None) -> Any:
    return subprocess.run(
        [sys.executable, "-m", "afterprop.cli", *arguments],
        input=text,
        stdin=subprocess.DEVNULL if text is None else None,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "AFTERPROP_URL": url},
        check=False,
    )


@pytest.fixture(scope="module")
def refusing_url() -> Iterator[str]:
    """A server that answers everything with one problem."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = json.dumps(PROBLEM).encode()
            self.send_response(422)
            self.send_header("Content-Type", "application/problem+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer

        def log_message(self, format: str, *args: Any) -> None:
            """Silent."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_command_starts_in_under_half_a_second() -> None:
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert afterprop("--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        # Processor time: other work on the machine does not count, and starting is all computing.
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(times) < 0.5, times


def test_command_never_imports_torch(refusing_url: str) -> None:
    program = (
        "import sys\nfrom afterprop.cli import main\n"
        "sys.argv = ['afterprop', 'show', 'job_x']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('torch' in sys.modules)"
    )
    environment = {**os.environ, "AFTERPROP_URL": refusing_url}
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert ran.stdout.strip() == "False"


def test_nobody_listening_is_exit_3() -> None:
    ran = afterprop("show", "job_x")
    assert ran.returncode == 3
    assert "127.0.0.1:9" in ran.stderr


def test_unknown_option_is_exit_2() -> None:
    assert afterprop("list", "--no-such-option").returncode == 2


def test_problem_is_exit_2_and_names_pointer_detail_and_allowed(refusing_url: str, tmp_path: Path) -> None:
    spec = tmp_path / "job.json"
    spec.write_text("{}")
    ran = afterprop("submit", str(spec), url=refusing_url)
    assert ran.returncode == 2
    for expected in ("/learner/kind", "no such learner", "backprop"):
        assert expected in ran.stderr


@pytest.mark.parametrize(("detail", "lines"), [("/lr: too large", 3), ("two things are wrong", 4), ("", 3)])
def test_single_mistake_is_said_once(detail: str, lines: int) -> None:
    item = {"pointer": "/lr", "code": "less_than", "detail": "too large", "allowed": ["< 1"]}
    console = Console(file=io.StringIO(), width=200)
    print_problem({"title": "Invalid request", "status": 422, "detail": detail, "errors": [item]}, console=console)
    said = console.file.getvalue()
    assert (len(said.splitlines()), said.count("too large")) == (lines, 1)


def test_problem_as_json_is_the_problem(refusing_url: str) -> None:
    ran = afterprop("show", "job_x", "--json", url=refusing_url)
    assert ran.returncode == 2
    assert json.loads(ran.stderr) == PROBLEM


@pytest.mark.parametrize("content", ["[1, 2]", "{", "{a: .nan}", "a: [", "when: 2020-01-01"])
def test_file_that_is_no_spec_is_exit_2(content: str, tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(content)
    ran = afterprop("submit", str(file))
    assert ran.returncode == 2
    assert "job.yaml" in ran.stderr


def test_missing_file_is_exit_2(tmp_path: Path) -> None:
    assert afterprop("submit", str(tmp_path / "none.yaml")).returncode == 2


def test_spec_is_read_from_standard_input() -> None:
    ran = afterprop("submit", "-", text="learner: {kind: backprop}\n")
    assert ran.returncode == 3  # read, and then nobody to send it to


@pytest.mark.parametrize("text", ["lr: 1e-3", "lr: 1.0e-3", "lr: .001", "lr: 0.001"])
def test_yaml_numbers_are_numbers(text: str) -> None:
    assert parse(text, is_json=False) == {"lr": 0.001}


def test_yaml_keeps_whole_numbers_and_words() -> None:
    assert parse("{epochs: 20, batch_size: full, seed: 0}", is_json=False) == {
        "epochs": 20,
        "batch_size": "full",
        "seed": 0,
    }


def test_json_file_is_read_as_json_alone(tmp_path: Path) -> None:
    file = tmp_path / "job.json"
    file.write_text("learner: {kind: backprop}")
    with pytest.raises(UnreadableSpec):
        read_spec(str(file))
