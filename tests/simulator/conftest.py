from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.simulator.systems import CHAIN, system

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def chain(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """api → pricing → inventory, with the routes of tests/apps/callers.py."""
    return system(project, tmp_path_factory.mktemp("chain") / "orders", CHAIN, app="callers")
