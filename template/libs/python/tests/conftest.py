from __future__ import annotations

import pytest
from recorder import Recorder

from tracerun import Telemetry, setup

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
