"""The image of a service: minimal, not root, gone in time at SIGTERM. `make test-images` builds it."""

from __future__ import annotations

import os
import pickle
import re
import signal
import subprocess
from typing import TYPE_CHECKING

import httpx
import pytest
from cloudrun.ports import free_port
from filelock import FileLock

from tests.images.dockerfile import Stage, command, context, instructions, replay
from tests.project import REPOSITORY, render
from tests.test_handlers import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

(DOCKERFILE,) = (REPOSITORY / "template" / "services").rglob("Dockerfile")
BUILD_TOOLS = ("pip", "uv", "gcc", "apt-get", "git")


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default project, with things in it that must not reach an image."""
    folder = tmp_path_factory.mktemp("image") / "orders"
    assert render(folder).returncode == 0
    (folder / "services" / "api" / ".venv").mkdir()
    (folder / "services" / "api" / ".venv" / "huge").touch()
    (folder / ".env").write_text("PASSWORD=1\n")
    return folder


@pytest.fixture(scope="session")
def image(project: Path, shared: Path) -> Stage:
    """The last stage of the default service's Dockerfile; replayed once, whichever worker asks."""
    folder = shared / "stages"
    kept = folder / "last.pickle"
    with FileLock(f"{folder}.lock"):
        if not kept.exists():
            source = context(project, folder / "context")
            stage = replay(project / "services" / "api" / "Dockerfile", source, folder, {"SERVICE": "api"})
            kept.write_bytes(pickle.dumps(stage))
    found: Stage = pickle.loads(kept.read_bytes())  # noqa: S301 (written above)
    return found


@pytest.fixture
def container(image: Stage) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    port = free_port()
    environment = {"HOME": "/nonexistent", "PORT": str(port), "OTEL_SDK_DISABLED": "true", **image.environment}
    process = subprocess.Popen(command(image), cwd=image.folder, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            until(lambda: process.poll() is not None or _healthy(client), "an answer", 20)
            assert process.poll() is None, process.communicate()
            yield process, client
    finally:
        process.kill()
        process.communicate()


def _healthy(client: httpx.Client) -> bool:
    try:
        return client.get("/health").is_success
    except httpx.HTTPError:
        return False


@pytest.mark.slow
def test_it_serves_and_ends_at_sigterm_with_0(container: tuple[subprocess.Popen[str], httpx.Client]) -> None:
    process, client = container
    assert client.get("/items/1").json()["id"] == 1
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=8) == 0


@pytest.mark.slow
def test_nothing_but_the_service_is_in_it(image: Stage) -> None:
    assert {path.name for path in image.folder.iterdir()} == {".venv", "app"}
    programs = {path.name for path in (image.folder / ".venv" / "bin").iterdir()}
    assert not programs & set(BUILD_TOOLS)
    packages = {path.name.split("-")[0] for path in (image.folder / ".venv").rglob("*.dist-info")}
    assert "tracerun_telemetry" in packages
    assert not packages & {"pip", "pytest", "mypy", "ruff", "setuptools"}


@pytest.mark.slow
def test_every_module_is_compiled(image: Stage) -> None:
    sources = [path for path in image.folder.rglob("*.py") if "bin" not in path.parts]
    missing = [path for path in sources if not list((path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"))]
    assert len(sources) > 300
    assert len(missing) < 5, missing[:5]


def test_the_context_holds_no_secrets_and_no_environments(project: Path, tmp_path: Path) -> None:
    found = {path.name for path in context(project, tmp_path / "context").rglob("*")}
    assert "main.py" in found
    assert not found & {".env", ".venv", "huge", "terraform.tfvars", "tests"}


def test_the_last_stage_is_not_root_and_has_no_tools() -> None:
    steps = instructions(DOCKERFILE)
    last = steps[max(number for number, (name, _) in enumerate(steps) if name == "FROM") :]
    assert [text for name, text in last if name == "USER"] == ["10001"], "by number: Cloud Run knows no names"
    assert last.index(("USER", "10001")) > max(
        number for number, (name, _) in enumerate(last) if name in {"RUN", "COPY"}
    )
    (run,) = [text for name, text in last if name == "RUN"]
    assert "pip uninstall" in run
    assert not re.search(r"\b(install|apt-get|curl)\b", run.replace("uninstall", ""))
    assert not [text for name, text in last if name in {"ADD", "ENTRYPOINT", "VOLUME"}]


def test_base_images_have_a_tag_and_no_invented_digest() -> None:
    bases = [text.partition(" AS ")[0] for name, text in instructions(DOCKERFILE) if name == "FROM"]
    assert bases
    for base in bases:
        assert re.fullmatch(r"python:3\.\d+-slim", base)


@pytest.mark.slow
def test_a_shell_in_front_is_noticed(image: Stage) -> None:
    with pytest.raises(ValueError, match="a shell would be process 1"):
        command(Stage("x", image.folder, [("CMD", "python -m app")]))
    assert command(image) == ["python", "-m", "app"]
    assert os.access(image.folder / ".venv" / "bin" / "python", os.X_OK)
