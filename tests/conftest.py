from __future__ import annotations

import os
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest
from cloudrun import CloudRun
from filelock import FileLock

from tests.collector_binary import collector_binary
from tests.journal import Journal
from tests.project import (
    FOLDERS,
    NOT_COPIED,
    changed_chain,
    make,
    render,
    set_topology,
    share_environments,
    with_app,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any


def pytest_configure() -> None:
    # Whatever this machine has on its PATH: the Telemetry API stands in but where a test asks for the collector.
    os.environ["COLLECTOR_BINARY"] = ""


@pytest.fixture(scope="session")
def otelcol() -> Path:
    """The collector of tests/collector."""
    return collector_binary()


@pytest.fixture
def collector(otelcol: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every service of the test has the real collector beside it."""
    monkeypatch.setenv("COLLECTOR_BINARY", str(otelcol))
    return otelcol


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder of all workers of a run: what they make there, they make under a lock."""
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


@pytest.fixture(scope="session")
def project(shared: Path) -> Path:
    """The default project, rendered and installed as a user would; one for all workers of a run."""
    folder = shared / "default" / "orders"
    with FileLock(f"{folder.parent}.lock"):
        if not folder.exists():
            rendered = render(folder)
            assert rendered.returncode == 0, rendered.stderr
            installed = make(folder, "setup")
            assert installed.returncode == 0, installed.stdout + installed.stderr
    return folder


@pytest.fixture
def own(project: Path, tmp_path: Path) -> Path:
    """A copy of the project that the test may break."""
    copy = tmp_path / "orders"
    shutil.copytree(project, copy, ignore=shutil.ignore_patterns(*NOT_COPIED))
    for folder in FOLDERS:
        (copy / folder / ".venv").symlink_to(project / folder / ".venv")
    return copy


@pytest.fixture(scope="session")
def shapes(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default project with the routes of tests/apps/shapes.py."""
    return with_app(project, tmp_path_factory.mktemp("shapes") / "orders", "shapes")


class Variant(Protocol):
    def __call__(self, *, env: Mapping[str, str] | None = None, **topology: str) -> Path: ...


@pytest.fixture(scope="session")
def variant(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Variant:
    """Return the default project with the routes of tests/apps/shapes.py and other values in topology.yaml."""
    made: dict[str, Path] = {}

    def variant(*, env: Mapping[str, str] | None = None, **topology: str) -> Path:
        key = repr((sorted(topology.items()), sorted((env or {}).items())))
        if key not in made:
            made[key] = with_app(project, tmp_path_factory.mktemp("variant") / "orders", "shapes")
            set_topology(made[key], topology, env or {})
        return made[key]

    return variant


@pytest.fixture(scope="session")
def rendered_chain(project: Path, shared: Path) -> Path:
    """api → pricing → inventory as `topology: chain` renders them; one for all workers of a run."""
    folder = shared / "chain" / "orders"
    with FileLock(f"{folder.parent}.lock"):
        if not folder.exists():
            rendered = render(folder, "-d", "topology=chain")
            assert rendered.returncode == 0, rendered.stderr
            share_environments(folder, project)
    return folder


class ChainVariant(Protocol):
    def __call__(self, **changes: Any) -> Path: ...


@pytest.fixture(scope="session")
def chain_variant(rendered_chain: Path, tmp_path_factory: pytest.TempPathFactory) -> ChainVariant:
    """Return the chain with changes; see `changed_chain`."""
    made: dict[str, Path] = {}

    def variant(**changes: Any) -> Path:
        key = repr(sorted(changes.items()))
        if key not in made:
            made[key] = changed_chain(rendered_chain, tmp_path_factory.mktemp("chain") / "orders", **changes)
        return made[key]

    return variant


@pytest.fixture(scope="session")
def deaf(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default project with an app that ignores SIGTERM."""
    return with_app(project, tmp_path_factory.mktemp("deaf") / "orders", "deaf")


@pytest.fixture(scope="session")
def broken(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default project with an app that ends when it is imported."""
    return with_app(project, tmp_path_factory.mktemp("broken") / "orders", "broken")


@pytest.fixture(scope="session")
def stock(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default project with the stock way of tracing, tests/apps/controls/stock.py."""
    environment = Path(sys.executable).parents[1]
    return with_app(project, tmp_path_factory.mktemp("stock") / "orders", "controls/stock", environment=environment)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal")


@pytest.fixture
def start(journal: Journal) -> Iterator[Callable[..., CloudRun]]:
    """Start a project; every keyword is a variable of its containers. All traces are kept unless one says otherwise.

    `slow`: see `CloudRun`.
    """
    with ExitStack() as running:

        def start(folder: Path, *, slow: Mapping[str, float] | None = None, **environment: str) -> CloudRun:
            variables = {**journal.environment, **environment}
            return running.enter_context(CloudRun(folder, environment=variables, slow=slow))

        yield start
