"""`make dev`: every request is shown, every change restarts the services, Ctrl-C ends it cleanly."""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import threading
from typing import TYPE_CHECKING

import httpx
import psutil
import pytest
from cloudrun.sampling import new_trace_id

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIMIT = 60


class Dev:
    """A running `make dev` and its output."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [folder / "e2e" / ".venv" / "bin" / "python", "-m", "cloudrun", "dev"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": "e2e", "COLUMNS": "120"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self.lines.put(line)

    def wait_for(self, pattern: str) -> re.Match[str]:
        seen: list[str] = []
        while True:
            try:
                seen.append(self.lines.get(timeout=LIMIT))
            except queue.Empty:
                raise AssertionError(f"{pattern!r} did not come; there was {''.join(seen)}") from None
            if match := re.search(pattern, seen[-1]):
                return match


@pytest.fixture
def dev(own: Path) -> Iterator[Dev]:
    dev = Dev(own)
    yield dev
    if dev.process.poll() is None:
        dev.process.kill()


def test_requests_are_shown_changes_restart_and_ctrl_c_ends(own: Path, dev: Dev) -> None:
    url = dev.wait_for(r"api: (http://\S+)")[1]
    dev.wait_for("press Ctrl-C")
    trace_id = new_trace_id(0.1)
    httpx.get(f"{url}/items/3", headers={"traceparent": f"00-{trace_id}-00f067aa0ba902b7-00"}, trust_env=False)
    dev.wait_for(trace_id)
    dev.wait_for(r"SERVER GET /items/\{id\}")

    routes = own / "services" / "api" / "app" / "main.py"
    routes.write_text(routes.read_text().replace('name=f"Item {item_id}"', 'name="changed"'))
    dev.wait_for("a file changed: restarting")
    url = dev.wait_for(r"api: (http://\S+)")[1]
    dev.wait_for("press Ctrl-C")
    assert httpx.get(f"{url}/items/3", trust_env=False).json()["name"] == "changed"

    routes.write_text(routes.read_text() + "\nraise RuntimeError('half written')\n")
    dev.wait_for(r"^api ended with 1: RuntimeError: half written")
    routes.write_text(routes.read_text().replace("\nraise RuntimeError('half written')\n", ""))
    dev.wait_for("press Ctrl-C")

    children = psutil.Process(dev.process.pid).children(recursive=True)
    assert children
    dev.process.send_signal(signal.SIGINT)
    assert dev.process.wait(LIMIT) == 0
    _, alive = psutil.wait_procs(children, timeout=LIMIT)
    assert not alive, "a service outlived its Cloud Run"
