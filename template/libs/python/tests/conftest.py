from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fetches import fetch_blocking, fetch_on_a_loop
from hypothesis import settings
from recorder import Recorder
from servers import Callee, MetadataServer

from tracerun import Telemetry, setup
from tracerun.id_tokens import token_source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fetches import Fetch

# A case that is slow once is no mistake: machines that test are busy.
settings.register_profile("busy", deadline=None)
settings.load_profile("busy")

_recorder = Recorder()


@pytest.fixture(scope="session")
def telemetry() -> Telemetry:
    """Return the process's own telemetry: OpenTelemetry allows one."""
    return setup({}, make_export=lambda: _recorder)


@pytest.fixture
def recorder(telemetry: Telemetry) -> Recorder:
    """Return what the process's telemetry exports, empty."""
    assert telemetry.flush is not None
    telemetry.flush.force_flush()
    _recorder.spans.clear()
    return _recorder


@pytest.fixture
def metadata(monkeypatch: pytest.MonkeyPatch) -> Iterator[MetadataServer]:
    """Return a metadata server that google-auth asks; it reads GCE_METADATA_HOST when it is imported only."""
    token_source.cache_clear()  # a port may be one that another test's callee had
    with MetadataServer() as server:
        monkeypatch.setattr("google.auth.compute_engine._metadata._GCE_METADATA_HOST", server.host)
        yield server


@pytest.fixture
def callee() -> Iterator[Callee]:
    with Callee() as server:
        yield server


@pytest.fixture
def private(callee: Callee, monkeypatch: pytest.MonkeyPatch) -> Callee:
    """Return a callee that asks for ID tokens."""
    monkeypatch.setenv("TRACERUN_PRIVATE_CALLEES", callee.url)
    return callee


@pytest.fixture(params=["sync", "async"])
def fetch(request: pytest.FixtureRequest) -> Fetch:
    """Return a function that sends one request with a new client of httpx."""
    return fetch_blocking if request.param == "sync" else fetch_on_a_loop
