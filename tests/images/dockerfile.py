"""A Dockerfile's steps, replayed in plain folders: no engine, no root.

Replayed: FROM, ARG, ENV, WORKDIR, COPY, RUN of every stage but the last, CMD. The folder `/srv` of an image is a folder
of its own here; `python`, `pip` and the caches of downloads are this machine's. RUN in the last stage (users, removals)
needs root: it is read, not run.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ROOT: Final = "/srv"


@dataclass
class Stage:
    """What one FROM makes."""

    base: str
    folder: Path
    steps: list[tuple[str, str]] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """Return the file's instructions, continued lines joined, comments left out."""
    lines = [line for line in dockerfile.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    found = [line.partition(" ") for line in joined.splitlines() if line.strip()]
    return [(name.upper(), text.strip()) for name, _, text in found]


def context(project: Path, destination: Path) -> Path:
    """Copy what .dockerignore lets through: whole folders, less the names that it excludes everywhere."""
    lines = (project / ".dockerignore").read_text(encoding="utf-8").split("\n")
    rules = [line for line in lines if line and not line.startswith("#")]
    if rules[0] != "*":
        raise ValueError(".dockerignore must exclude everything first")
    excluded = [rule.removeprefix("**/") for rule in rules if rule.startswith("**/")]
    for name in (rule.removeprefix("!") for rule in rules if rule.startswith("!")):
        if (project / name).exists():
            shutil.copytree(project / name, destination / name, ignore=shutil.ignore_patterns(*excluded))
    return destination


def replay(dockerfile: Path, source: Path, folder: Path, arguments: Mapping[str, str]) -> Stage:
    """Replay `dockerfile` with the context `source`, in folders below `folder`; return the last stage."""
    stages: dict[str, Stage] = {}
    current: Stage | None = None
    for name, text in instructions(dockerfile):
        if name == "FROM":
            base, _, alias = text.partition(" AS ")
            current = Stage(base, folder / (alias or "last"))
            current.folder.mkdir(parents=True)
            stages[alias or "last"] = current
            continue
        if current is None:
            continue
        current.steps.append((name, text))
        is_last = current is stages.get("last")
        expanded = re.sub(r"\$\{(\w+)\}", lambda found: arguments.get(found[1], found[0]), text)
        if name == "COPY":
            _copy(expanded, source, current, stages)
        elif name == "RUN" and not is_last:
            _run(expanded, current)
        elif name == "ENV":
            pairs = (pair.partition("=") for pair in shlex.split(text))
            for key, _, value in pairs:
                here = value.replace(ROOT, str(current.folder)).replace("$PATH", os.environ["PATH"])
                current.environment[key] = here
    return stages["last"]


def command(stage: Stage) -> list[str]:
    """Return the program that the image starts. Raises `ValueError` when a shell would start it."""
    text = next(text for name, text in reversed(stage.steps) if name == "CMD")
    if not text.startswith("["):
        raise ValueError(f"CMD {text}: a shell would be process 1, and would not pass SIGTERM on: use the form with []")
    found: list[str] = json.loads(text)
    return found


def _copy(text: str, source: Path, stage: Stage, stages: Mapping[str, Stage]) -> None:
    words = text.split()
    origin = source
    if words[0].startswith("--from="):
        origin = stages[words.pop(0).partition("=")[2]].folder
    *names, target = words
    for name in names:
        relative = name.removeprefix(ROOT).lstrip("/")
        path, to = origin / relative, stage.folder / target
        if path.is_dir():
            shutil.copytree(path, to, symlinks=True, dirs_exist_ok=True)
        else:
            to = to / path.name if target.endswith("/") else to
            shutil.copy(path, to)


def _run(text: str, stage: Stage) -> None:
    base = stage.folder.parent / "base"
    if not base.exists():
        subprocess.run([sys.executable, "-m", "venv", base], check=True)
    environment = {
        **{key: value for key, value in os.environ.items() if not fnmatch.fnmatch(key, "VIRTUAL_ENV*")},
        "PATH": f"{base / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin",
        "PYTHONDONTWRITEBYTECODE": "",
    }
    cached = re.sub(r" --no-cache(-dir)?\b", "", text)
    ended = subprocess.run(
        ["/bin/sh", "-c", cached], cwd=stage.folder, env=environment, capture_output=True, text=True, check=False
    )
    if ended.returncode:
        raise RuntimeError(f"RUN {text}: {(ended.stdout + ended.stderr)[-2000:]}")
