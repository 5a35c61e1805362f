"""What a service's container runs: the CMD of its Dockerfile, so that what is proven is what is shipped."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from cloudrun.errors import NotSimulated, StartFailed

if TYPE_CHECKING:
    from pathlib import Path

    from cloudrun.topology import Service


def container_command(folder: Path) -> list[str]:
    """Return the last CMD of `folder`/Dockerfile. Raises `StartFailed` when there is none in the exec form."""
    dockerfile = folder / "Dockerfile"
    try:
        lines = dockerfile.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise StartFailed(f"{dockerfile}: cannot be read ({error}): every service has one") from error
    commands = [line.removeprefix("CMD").strip() for line in lines if line.startswith("CMD ")]
    try:
        command = json.loads(commands[-1])
    except (IndexError, ValueError):
        command = None
    if not (isinstance(command, list) and command and all(isinstance(word, str) for word in command)):
        raise StartFailed(f'{dockerfile}: needs a CMD in the exec form, such as CMD ["python", "-m", "app"]')
    return command


def tool_path(service: Service, folder: Path) -> str:
    """Return the PATH on which the service's programs are found, the service's own environment first."""
    if service.language != "python":
        raise NotSimulated(f"{service.name}: {service.framework} cannot be run yet; python-fastapi can")
    environment = folder / ".venv" / "bin"
    if not environment.is_dir():
        raise StartFailed(f"{folder}: has no .venv: run `make setup`")
    return f"{environment}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
