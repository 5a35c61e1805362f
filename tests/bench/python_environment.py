"""The environments that Python servers run in: what a service ships, and the same with the rivals' packages."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from functools import cache
from typing import TYPE_CHECKING, Final

from filelock import FileLock

from tests.bench.errors import BenchError
from tests.project import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

_ALL: Final = REPOSITORY / "requirements.txt"
_RIVALS: Final = (
    "opentelemetry-distro",
    "opentelemetry-exporter-otlp",
    "opentelemetry-instrumentation-fastapi",
)


@cache
def programs(*, rivals: bool) -> Path:
    """Return the folder of an environment's programs, installed if the locks have changed.

    The repository's own environment is no measure: tools in it change what OpenTelemetry imports, and cost start-up.
    """
    (lock,) = (REPOSITORY / "template" / "services").glob("*fastapi*/requirements.txt")
    digest = hashlib.sha256(lock.read_bytes() + _ALL.read_bytes()).hexdigest()[:16]
    environment = REPOSITORY / ".cache" / "bench" / digest / ("rivals" if rivals else "shipped")
    ready = environment / ".ready"
    environment.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{environment}.lock"):
        if not ready.exists():
            _uv("venv", "--allow-existing", "--python", ">=3.11", environment)
            install = ("pip", "install", "--compile-bytecode", "--python", environment)
            _uv(*install, "--require-hashes", "-r", lock)
            if rivals:
                _uv(*install, "-c", _ALL, *_RIVALS)
            ready.touch()
    return environment / "bin"


def _uv(*arguments: str | Path) -> None:
    uv = shutil.which("uv") or REPOSITORY / ".uv" / "bin" / "uv"
    done = subprocess.run([uv, "--quiet", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"uv {arguments[0]} fails: {done.stderr.strip()[-500:]}")
