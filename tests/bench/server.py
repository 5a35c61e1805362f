"""One variant's server: its start, its CPU time and its memory, by the kernel's own accounting."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final, Self

import psutil
from cloudrun.ports import free_port

from tests.bench.errors import BenchError
from tests.bench.tools import pin

if TYPE_CHECKING:
    from types import TracebackType

    from tests.bench.tools import Tools
    from tests.bench.variants import Stack, Variant

_START_LIMIT: Final = 60.0
_STOP_LIMIT: Final = 15.0
_POLL: Final = 0.0005
_PASSED: Final = ("HOME", "LANG", "LC_ALL", "TMPDIR")
_RESOURCE: Final = "gcp.project_id=bench,service.namespace=bench,service.version=1,cloud.region=europe-west1"


def environment(stack: Stack, variant: Variant, endpoint: str) -> dict[str, str]:
    """Return the variables of a server, but for its port: nothing of this machine's own but what programs need."""
    return {
        **{name: os.environ[name] for name in _PASSED if name in os.environ},
        "PATH": f"{stack.install(rivals=variant.rival)}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "OTEL_SERVICE_NAME": "bench",
        "OTEL_RESOURCE_ATTRIBUTES": _RESOURCE,
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        **variant.environment,
    }


class Server:
    """Runs in a `with`: listening on entering, killed on leaving, with all its children."""

    def __init__(self, stack: Stack, variant: Variant, tools: Tools, endpoint: str | None = None) -> None:
        """`endpoint` is where spans go, by default to the sink."""
        self.variant = variant
        self._stack = stack
        self._tools = tools
        self._port = free_port()
        variables = environment(stack, variant, endpoint or tools.endpoint(variant))
        self._environment = {**variables, "PORT": str(self._port)}
        self.listening_after = 0.0
        """Seconds from the start of the process until it accepts connections."""

    def __enter__(self) -> Self:
        started = time.perf_counter()
        self._process = subprocess.Popen(
            [*self.variant.command],
            cwd=self._stack.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            pin(self._process.pid, self._tools.cores.server)
            self._until_listening(started + _START_LIMIT)
        except BaseException:
            self._kill()
            raise
        self.listening_after = time.perf_counter() - started
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kill()

    def url(self, path: str = "/items/1") -> str:
        return f"http://127.0.0.1:{self._port}{path}"

    def get(self, path: str = "/items/1") -> None:
        """Send one request over a connection of its own. Raises `BenchError` if the answer is not 200."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
        if answer.status != http.client.OK:
            raise BenchError(f"{self.variant.name}: {path} was answered with {answer.status}")

    def cpu(self) -> float:
        """Return the CPU seconds, user and system, of the process and its children so far."""
        return sum(map(_cpu_seconds, self._tree()))

    def memory(self) -> int:
        """Return the resident set size of the process and its children, in bytes: in a container nobody shares it."""
        return sum(process.memory_info().rss for process in self._tree())

    def until_settled(self, quiet: float = 0.2) -> None:
        """Return once the server has used next to no CPU for `quiet` seconds."""
        before = self.cpu()
        while True:
            time.sleep(quiet)
            now = self.cpu()
            if now - before < quiet / 20:
                return
            before = now

    def _tree(self) -> list[psutil.Process]:
        process = psutil.Process(self._process.pid)
        return [process, *process.children(recursive=True)]

    def _until_listening(self, end: float) -> None:
        while not self._accepts():
            if self._process.poll() is not None:
                raise BenchError(f"{self.variant.name} ended with {self._process.returncode}: {self._last_words()}")
            if time.perf_counter() > end:
                raise BenchError(f"{self.variant.name} did not listen within {_START_LIMIT:.0f} s")
            time.sleep(_POLL)

    def _accepts(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
        except OSError:
            return False
        return True

    def _last_words(self) -> str:
        said = self._process.stderr.read().decode("utf-8", "replace") if self._process.stderr else ""
        return said.strip().rpartition("\n")[2] or "it said nothing"

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(_STOP_LIMIT)
        if self._process.stderr:
            self._process.stderr.close()


def _cpu_seconds(process: psutil.Process) -> float:
    if sys.platform == "linux":
        # The clock of another process: finer than the hundredths of a second in /proc/PID/stat.
        # https://man7.org/linux/man-pages/man3/clock_getcpuclockid.3.html
        return time.clock_gettime((~process.pid << 3) | 2)
    times = process.cpu_times()
    return float(times.user + times.system)
