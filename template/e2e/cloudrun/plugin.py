"""The pytest plugin: the fixture `cloudrun` is the running system of the project that holds this e2e/ folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cloudrun.client import CloudRun

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def project(request: pytest.FixtureRequest) -> Path:
    """Return the folder that holds topology.yaml: the parent of the folder in which pytest runs."""
    return Path(request.config.rootpath).parent


@pytest.fixture
def cloudrun(project: Path) -> Iterator[CloudRun]:
    """Give each test a freshly started system."""
    with CloudRun(project) as run:
        yield run
