"""Rendered projects for the tests."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

REPOSITORY = Path(__file__).parents[1]
APPS = REPOSITORY / "tests" / "apps"
FOLDERS = ("libs/python", "services/api", "e2e")
"""Folders of the default project that have an environment."""
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


def with_app(project: Path, destination: Path, app: str, *, environment: Path | None = None) -> Path:
    """Copy `project`, its service's routes replaced by tests/apps/`app`: as if the user had written them."""
    shutil.copytree(project, destination, ignore=shutil.ignore_patterns(*NOT_COPIED))
    for folder in FOLDERS:
        target = environment if environment and folder.startswith("services/") else project / folder / ".venv"
        (destination / folder / ".venv").symlink_to(target)
    code = destination / "services" / "api" / "app"
    shutil.copy(APPS / f"{app}.py", code / "main.py")
    shutil.copy(APPS / "journal.py", code)
    entry = (APPS / app).parent / "__main__.py"
    if entry.exists():
        shutil.copy(entry, code)
    return destination
