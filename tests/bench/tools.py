"""The load and the sink: programs of their own, so that what they cost is not the server's."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import httpx
import psutil

from tests.bench.errors import BenchError
from tests.go_binary import go_binary

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from tests.bench.variants import Variant

MODULE: Final = Path(__file__).with_name("gotools")
_POLL: Final = 0.01


def pin(pid: int, cores: Sequence[int]) -> None:
    """Let the process run on `cores` only, where the system can do that."""
    if cores and hasattr(psutil.Process, "cpu_affinity"):
        psutil.Process(pid).cpu_affinity(list(cores))


@dataclass(frozen=True)
class Cores:
    """The server has one core for itself, as the smallest instance of Cloud Run has, and the others share the rest."""

    server: Sequence[int]
    others: Sequence[int]

    @classmethod
    def of_this_machine(cls) -> Cores:
        cores = list(range(psutil.cpu_count() or 1))
        return cls(cores[:1], cores[1:]) if len(cores) > 1 else cls((), ())


@dataclass(frozen=True)
class Load:
    """What a run of requests came to; latencies in seconds."""

    sent: int
    seconds: float
    p50: float
    p99: float


@dataclass(frozen=True)
class Count:
    """The spans that a sink has: `spans` and `server` count ids, so a second copy counts as a duplicate only."""

    exports: int
    spans: int
    server: int
    duplicates: int


class Tools:
    """Builds the programs on entering and runs a sink until it is left."""

    def __init__(self, cores: Cores) -> None:
        self.cores = cores

    def __enter__(self) -> Self:
        self._program = go_binary(MODULE, "benchtools")
        self._sink = subprocess.Popen([self._program, "sink"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        pin(self._sink.pid, self.cores.others)
        line = self._sink.stdout.readline() if self._sink.stdout else ""
        if not line:
            raise BenchError(f"the sink ended with {self._sink.wait()}; its own line above says why")
        addresses = json.loads(line)
        self.http: str = addresses["http"]
        self._grpc: str = addresses["grpc"]
        self._client = httpx.Client(base_url=self.http, trust_env=False, timeout=60)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()
        self._sink.kill()
        self._sink.wait()
        for pipe in (self._sink.stdin, self._sink.stdout):
            if pipe:
                pipe.close()

    def load(
        self,
        url: str,
        *,
        connections: int = 16,
        seconds: float = 3600,
        requests: int | None = None,
        body: Path | None = None,
    ) -> Load:
        """Request `url` for `seconds`, or `requests` times. Raises `BenchError` if one is not answered with 200."""
        command: list[str | Path] = [
            self._program,
            "load",
            "-url",
            url,
            f"-connections={connections}",
            f"-duration={seconds}s",
        ]
        command += [f"-requests={requests}"] if requests else []
        command += ["-body", body] if body else []
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        pin(running.pid, self.cores.others)
        output, complaint = running.communicate()
        if running.returncode:
            raise BenchError(complaint.strip() or f"the load ended with {running.returncode}")
        result = json.loads(output)
        if result["ok"] != result["sent"]:
            raise BenchError(f"{url}: {result['sent'] - result['ok']} of {result['sent']} requests were not answered")
        return Load(result["sent"], result["seconds"], result["p50"], result["p99"])

    def forget(self) -> None:
        """Empty the sink."""
        self._client.post("/reset").raise_for_status()

    def count(self) -> Count:
        """Return what the sink has now."""
        return Count(**self._client.get("/count").raise_for_status().json())

    def endpoint(self, variant: Variant) -> str:
        """Return where `variant` exports to: the sink, over the protocol that it speaks."""
        return self._grpc if variant.environment.get("OTEL_EXPORTER_OTLP_PROTOCOL") == "grpc" else self.http

    def last_export(self) -> bytes:
        """Return the last export as it came."""
        return self._client.get("/last").raise_for_status().content

    def wait_for(self, server_spans: int, seconds: float) -> Count:
        """Return the count once so many SERVER spans are there, or after `seconds`."""
        end = time.monotonic() + seconds
        while True:
            count = self.count()
            if count.server >= server_spans or time.monotonic() > end:
                return count
            time.sleep(max(_POLL, seconds / 50))
