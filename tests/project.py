"""Rendered projects for the tests."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping

REPOSITORY = Path(__file__).parents[1]
APPS = REPOSITORY / "tests" / "apps"
FOLDERS = ("libs/python", "services/api", "e2e")
"""Folders of the default project that have an environment."""
CHAIN = ("api", "pricing", "inventory")
"""The services of `topology: chain`: each calls the next."""
NOT_COPIED = (".venv", ".git", "__pycache__", ".*_cache")


def copier(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run Copier as a user does; nothing of it is trusted."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "copier", *map(str, arguments)],
        cwd=cwd,
        text=True,
        capture_output=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def render(destination: Path, *arguments: str, source: Path = REPOSITORY) -> subprocess.CompletedProcess[str]:
    """Render the template's working tree into `destination`; `arguments` are options of `copier copy`."""
    reference = ["--vcs-ref", "HEAD"] if (source / ".git").exists() else []
    return copier("copy", "--quiet", "--defaults", *reference, *arguments, source, destination)


def make(folder: Path, *targets: str) -> subprocess.CompletedProcess[str]:
    """Run make in `folder`, with uv from this repository's environment or the machine's."""
    environment = {
        name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}
    }
    return subprocess.run(["make", *targets], cwd=folder, text=True, capture_output=True, check=False, env=environment)


def set_topology(project: Path, values: Mapping[str, str], env: Mapping[str, str]) -> None:
    """Give top-level keys of topology.yaml other values, or add them, and give the service api more variables."""
    file = project / "topology.yaml"
    text = file.read_text()
    for key, value in values.items():
        text, found = re.subn(rf"^{key}: .*$", f"{key}: {value}", text, flags=re.MULTILINE)
        text += "" if found else f"{key}: {value}\n"
    lines = "".join(f"\n      {name}: {value}" for name, value in env.items())
    file.write_text(text.replace("    access: public", f"    access: public\n    env:{lines}") if env else text)


def share_environments(chain: Path, project: Path) -> None:
    """Give a rendered chain the environments of the default project: all services have the same requirements."""
    for folder in ("libs/python", "e2e", *(f"services/{service}" for service in CHAIN)):
        owner = "services/api" if folder.startswith("services/") else folder
        locks = [each / folder_ / "requirements.txt" for each, folder_ in ((chain, folder), (project, owner))]
        assert locks[0].exists() == locks[1].exists()
        assert not locks[0].exists() or locks[0].read_bytes() == locks[1].read_bytes(), f"{locks[0]} is another one"
        (chain / folder / ".venv").symlink_to(project / owner / ".venv")


def changed_chain(
    chain: Path,
    destination: Path,
    *,
    apps: Mapping[str, str] | None = None,
    services: Mapping[str, Mapping[str, Any]] | None = None,
    timeout: float | None = None,
    environment: Path | None = None,
    **topology: str,
) -> Path:
    """Copy a chain as a user would change it.

    `apps` gives services the routes of tests/apps, `services` their keys in topology.yaml other values, `topology` its
    top-level keys; `timeout` is how long `api` waits, in seconds; `environment` takes the place of that of `apps`.
    """
    shutil.copytree(chain, destination, symlinks=True)
    for service, app in (apps or {}).items():
        put_app(destination / "services" / service, app, environment)
    if timeout is not None:
        clients = destination / "services" / "api" / "app" / "clients.py"
        text, changed = re.subn(r"^TIMEOUT = .*$", f"TIMEOUT = {timeout}", clients.read_text(), flags=re.MULTILINE)
        assert changed == 1
        clients.write_text(text)
    file = destination / "topology.yaml"
    values = yaml.safe_load(file.read_text()) | topology
    for service, keys in (services or {}).items():
        values["services"][service] |= keys
    file.write_text(yaml.safe_dump(values, sort_keys=False))
    return destination


def with_app(project: Path, destination: Path, app: str, *, environment: Path | None = None) -> Path:
    """Copy `project`, its service's routes replaced by tests/apps/`app`: as if the user had written them."""
    shutil.copytree(project, destination, ignore=shutil.ignore_patterns(*NOT_COPIED))
    for folder in FOLDERS:
        target = environment if environment and folder.startswith("services/") else project / folder / ".venv"
        (destination / folder / ".venv").symlink_to(target)
    put_app(destination / "services" / "api", app)
    return destination


def put_app(service: Path, app: str, environment: Path | None = None) -> None:
    """Replace the service's routes by tests/apps/`app`, and its environment where one is given."""
    shutil.copy(APPS / f"{app}.py", service / "app" / "main.py")
    shutil.copy(APPS / "journal.py", service / "app")
    entry = (APPS / app).parent / "__main__.py"
    if entry.exists():
        shutil.copy(entry, service / "app")
    if environment:
        (service / ".venv").unlink()
        (service / ".venv").symlink_to(environment)
