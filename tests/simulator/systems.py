"""Projects with several services, made of the default one: topology.yaml and a folder for each."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from tests.project import APPS, NOT_COPIED

if TYPE_CHECKING:
    from pathlib import Path

CHAIN = """\
  api:
    framework: python-fastapi
    access: public
    calls: [pricing]
  # called by api
  pricing:
    framework: python-fastapi
    access: private
    ingress: internal
    calls: [inventory]
  # called by pricing
  inventory:
    framework: python-fastapi
    access: private
    ingress: internal
"""


def system(project: Path, destination: Path, services: str, *, app: str | None = None, **topology: str) -> Path:
    """Copy `project`; `services` takes the place of those in topology.yaml, with the routes of tests/apps/`app`.

    Without `app` they keep the sample's. `topology` gives top-level keys other values.
    """
    shutil.copytree(project, destination, ignore=shutil.ignore_patterns(*NOT_COPIED))
    for folder in ("libs/python", "e2e"):
        (destination / folder / ".venv").symlink_to(project / folder / ".venv")
    names = [line.strip(" :") for line in services.splitlines() if line.startswith("  ") and line[2] not in " #"]
    for name in names:
        own = destination / "services" / name
        if name != "api":
            shutil.copytree(destination / "services" / "api", own, symlinks=True)
        if not (own / ".venv").exists():
            (own / ".venv").symlink_to(project / "services" / "api" / ".venv")
        if app:
            shutil.copy(APPS / f"{app}.py", own / "app" / "main.py")
    file = destination / "topology.yaml"
    text = file.read_text().partition("services:\n")[0] + "services:\n" + services
    for key, value in topology.items():
        before = next(line for line in text.splitlines() if line.strip().startswith(f"{key}:"))
        text = text.replace(before, f"{before.partition(':')[0]}: {value}")
    file.write_text(text)
    return destination


OPEN_CHAIN = CHAIN.replace(
    "    access: private\n", "    access: public\n    env:\n      TRACERUN_TRUST_CALLERS: 'true'\n"
)
"""Without ID tokens, so that the sample's own client can call; the callees believe whom they are called by."""

EXPECT = """\
requests:
  - request: GET /items/1
    spans:
      - SERVER GET /items/{id}
      - CLIENT GET
      - pricing SERVER GET /items/{id}
      - CLIENT GET
      - inventory SERVER GET /items/{id}
"""
"""expect.yaml of both chains, with the sample's routes."""
