"""In a container the service is process 1, which the kernel spares every signal that it has no handler for."""

from __future__ import annotations

import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from cloudrun.ports import free_port

from tests.project import set_topology, with_app
from tests.test_handlers import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloudrun import CloudRun

    from tests.journal import Journal

COMMAND = '"python", "-m", "app"'
NAMESPACE = [
    "unshare",
    *([] if os.geteuid() == 0 else ["--user", "--map-root-user"]),
    "--pid",
    "--fork",
    "--kill-child",
]


@pytest.fixture(scope="module")
def as_pid_one(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = with_app(project, tmp_path_factory.mktemp("pid-one") / "orders", "shapes")
    dockerfile = folder / "services" / "api" / "Dockerfile"
    words = ", ".join(f'"{word}"' for word in NAMESPACE)
    assert COMMAND in dockerfile.read_text()
    dockerfile.write_text(dockerfile.read_text().replace(COMMAND, f"{words}, {COMMAND}"))
    # The signal comes past the simulator, which would not give an idle instance its CPU for the shutdown.
    set_topology(folder, {"billing": "instance"}, {})
    return folder


def service(outer: int) -> psutil.Process:
    """Return the process that is number 1 in the namespace that process `outer` has made."""
    (inner,) = psutil.Process(outer).children()
    status = Path(f"/proc/{inner.pid}/status").read_text(encoding="ascii").splitlines()
    numbers = next(line.split()[1:] for line in status if line.startswith("NSpid"))
    assert numbers[-1] == "1", "it is not process 1: nothing is proven"
    return inner


def test_sigterm_delivers_the_spans_and_ends_it_with_0(
    start: Callable[..., CloudRun], as_pid_one: Path, journal: Journal
) -> None:
    run = start(as_pid_one)
    run.back_end(delay=0.3)
    with ThreadPoolExecutor() as clients:
        reply = clients.submit(run.get, "/slow?seconds=0.5")
        until(lambda: sum(journal.started().values()) == 1, "the span's start")
        inner = service(run.instance().processes.pid)
        inner.send_signal(signal.SIGTERM)
        assert reply.result().status == 200
    outer = run.instance().processes
    until(lambda: outer.exit_code is not None, "the end")
    assert outer.exit_code == 0, run.logs()
    assert run.span_ids() == journal.started()


@pytest.mark.parametrize("wrapper", [[], NAMESPACE], ids=["as any process", "as process 1"])
def test_sigterm_ends_it_while_it_still_starts(as_pid_one: Path, tmp_path: Path, wrapper: list[str]) -> None:
    folder = as_pid_one / "services" / "api"
    marker = tmp_path / "importing"
    code = tmp_path / "app"
    code.mkdir()
    (code / "__init__.py").touch()
    (code / "__main__.py").write_text((folder / "app" / "__main__.py").read_text())
    (code / "main.py").write_text(f"import pathlib, time\npathlib.Path({str(marker)!r}).touch()\ntime.sleep(60)\n")
    with subprocess.Popen(
        [*wrapper, folder / ".venv" / "bin" / "python", "-m", "app"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PORT": str(free_port())},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as started:
        try:
            until(marker.exists, "the import of the app")
            target = service(started.pid) if wrapper else psutil.Process(started.pid)
            target.send_signal(signal.SIGTERM)
            output, _ = started.communicate(timeout=5)
        finally:
            started.kill()
    assert started.returncode == 0, output
    assert "Traceback" not in output
