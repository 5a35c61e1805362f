"""Adding an instrumentation package, and nothing else, gives its spans; one that does not fit is named."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.project import APPS, NOT_COPIED, make, set_topology

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cloudrun import CloudRun

INSTRUMENTATION = "opentelemetry-instrumentation-sqlalchemy"


def with_packages(project: Path, folder: Path, *packages: str, app: str = "database") -> Path:
    """Return the project with the app tests/apps/`app`, and `packages` added to its service as users do."""
    added = folder / "orders"
    shutil.copytree(project, added, ignore=shutil.ignore_patterns(*NOT_COPIED))
    manifest = added / "services" / "api" / "pyproject.toml"
    listed = ", ".join(f'"{package}"' for package in packages)
    manifest.write_text(manifest.read_text().replace('"fastapi>=0.165"', f'"fastapi>=0.165", {listed}'))
    shutil.copy(APPS / f"{app}.py", manifest.parent / "app" / "main.py")
    shutil.copy(APPS / "journal.py", manifest.parent / "app")
    done = make(added, "lock", "setup")
    assert done.returncode == 0, done.stdout + done.stderr
    return added


@pytest.mark.slow
def test_an_added_instrumentation_gives_spans_under_the_request(
    start: Callable[..., CloudRun], project: Path, tmp_path: Path
) -> None:
    run = start(with_packages(project, tmp_path, "sqlalchemy<2.1", INSTRUMENTATION))
    trace = run.trace(run.get("/query").trace_id)
    server = trace.one("SERVER GET /query")
    queries = [span for span in trace.children(server.span_id) if span.name.startswith("SELECT")]
    assert len(queries) == 1, [span.label for span in trace.spans]
    assert queries[0].kind == "CLIENT"
    assert "secret" not in repr(queries)
    assert run.instance().frozen


@pytest.mark.slow
def test_an_instrumentation_that_does_not_fit_is_named_and_the_service_works(
    start: Callable[..., CloudRun], project: Path, tmp_path: Path
) -> None:
    run = start(with_packages(project, tmp_path, "sqlalchemy>=2.1", INSTRUMENTATION))
    assert run.get("/query").status == 200
    warnings = [json.loads(line)["message"] for line in run.logs() if '"WARNING"' in line]
    assert any("instrumentation sqlalchemy is not loaded" in line and "2.1" in line for line in warnings), warnings


@pytest.mark.slow
def test_requests_for_access_tokens_make_no_spans(
    start: Callable[..., CloudRun], project: Path, tmp_path: Path
) -> None:
    folder = with_packages(project, tmp_path, "opentelemetry-instrumentation-requests", app="shapes")
    set_topology(folder, {"exporter": "direct"}, {})
    run = start(folder)
    run.metadata_server(lifetime=60)  # so short that each export renews the token, beside the requests
    run.kill()
    run.start_instance()
    given = len(run.system.metadata.tokens)
    for _ in range(5):
        run.get("/plain")
    assert len(run.system.metadata.tokens) > given, "no token was renewed: nothing is proven"
    run.terminate()
    assert {span.label for trace in run.trace_ids() for span in run.trace(trace).own()} == {
        "SERVER GET /plain",
        "INTERNAL child",
    }


def test_without_one_nothing_is_imported_for_them(project: Path) -> None:
    service = project / "services" / "api"
    code = "import sys, tracerun; tracerun.setup(); print([n for n in sys.modules if 'opentelemetry.distro' in n])"
    python = service / ".venv" / "bin" / "python"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
