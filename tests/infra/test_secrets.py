"""Secrets offline: the developer's environment gives them; a missing one is refused in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cloudrun.errors import StartFailed

from tests.project import make

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cloudrun import CloudRun


@pytest.fixture
def with_secret(own: Path) -> Path:
    topology = own / "topology.yaml"
    declared = "    access: public\n    secrets:\n      API_KEY: partner-key\n"
    topology.write_text(topology.read_text().replace("    access: public\n", declared))
    return own


@pytest.mark.slow
def test_a_missing_secret_is_one_line_with_the_cure(with_secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("API_KEY", raising=False)
    result = make(with_secret, "dev", "ONCE=1")
    assert result.returncode != 0
    assert "services.api.secrets.API_KEY: there is no Secret Manager here: set API_KEY" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_a_secret_reaches_the_service(
    with_secret: Path, start: Callable[..., CloudRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StartFailed, match="API_KEY"):
        start(with_secret)
    monkeypatch.setenv("API_KEY", "s3cret")
    run = start(with_secret)
    assert run.instance().environment["API_KEY"] == "s3cret"
