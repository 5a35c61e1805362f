"""The sources pass their linters, formatters and type checkers, unrendered as well."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.project import REPOSITORY

TEMPLATE = REPOSITORY / "template"
(SERVICE,) = (TEMPLATE / "services").iterdir()
LIBRARY = TEMPLATE / "libs" / "python"
COMPLIANCE = TEMPLATE / "infra" / "compliance"
FOLDERS = {
    "repository": REPOSITORY,
    "library": LIBRARY,
    "e2e": TEMPLATE / "e2e",
    "service": SERVICE,
    "compliance": COMPLIANCE,
}
TOOLS = Path(sys.executable).parent


def passes(*command: str | Path, cwd: Path = REPOSITORY) -> None:
    environment = {
        **os.environ,
        "PATH": f"{TOOLS}{os.pathsep}{os.environ['PATH']}",
        "MYPYPATH": str(LIBRARY / "src") if cwd == SERVICE else "",
        "PYTHONPATH": str(LIBRARY / "src"),
    }
    result = subprocess.run([*map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


python_folders = pytest.mark.parametrize("folder", FOLDERS.values(), ids=FOLDERS)


@python_folders
def test_formatted(folder: Path) -> None:
    passes("ruff", "format", "--check", ".", cwd=folder)


@python_folders
def test_linted(folder: Path) -> None:
    passes("ruff", "check", ".", cwd=folder)


@python_folders
def test_typed(folder: Path) -> None:
    passes("mypy", cwd=folder)


def test_the_librarys_own_tests_pass_in_place() -> None:
    passes(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=LIBRARY)


def test_workflows_are_valid(tmp_path: Path) -> None:
    workflows = [*REPOSITORY.glob(".github/workflows/*.yml"), *TEMPLATE.glob(".github/workflows/*.yml")]
    assert len(workflows) >= 2
    passes("actionlint")
    # A workflow that calls another is judged with it: both stand where a rendered project has them.
    shutil.copytree(TEMPLATE / ".github", tmp_path / ".github")
    passes("git", "init", "--quiet", tmp_path)
    passes("actionlint", cwd=tmp_path)
    passes("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *workflows)
    passes("zizmor", "--offline", "--quiet", REPOSITORY / ".github", TEMPLATE / ".github")


def test_workflows_use_actions_by_digest_and_have_least_rights() -> None:
    for workflow in [*REPOSITORY.glob(".github/workflows/*.yml"), *TEMPLATE.glob(".github/workflows/*.yml")]:
        text = workflow.read_text()
        uses = re.findall(r"uses: (\S+)(.*)", text)
        assert uses
        for action, comment in uses:
            if re.fullmatch(r"\./\.github/workflows/[\w-]+\.yml", action):
                assert (workflow.parents[2] / action).is_file(), action
                continue
            assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action), action
            assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment), f"{action} does not say its version"
        assert re.search(r"^permissions:( \{\}|\n  contents: read)$", text, re.MULTILINE), workflow.name


def test_configurations_of_bots_are_valid() -> None:
    for name, schema in (("dependabot.yml", "vendor.dependabot"), ("renovate.json", "vendor.renovate")):
        files = [*REPOSITORY.glob(f".github/{name}"), *TEMPLATE.glob(f".github/{name}")]
        assert files
        passes("check-jsonschema", "--builtin-schema", schema, *files)


def test_dockerfiles_are_valid() -> None:
    dockerfiles = list(TEMPLATE.rglob("Dockerfile"))
    assert dockerfiles
    passes("hadolint", "--failure-threshold", "warning", *dockerfiles)


def test_scripts_are_valid() -> None:
    passes("shellcheck", REPOSITORY / ".ci" / "run", REPOSITORY / "tests" / "images" / "build")


def test_no_path_is_forbidden_on_windows() -> None:
    for path in REPOSITORY.rglob("*"):
        name = path.relative_to(REPOSITORY).as_posix()
        if not name.startswith((".git/", ".venv/", ".demo/")) and ".venv" not in name:
            assert not set(name) & set('<>:"|?*\\'), name
            assert len(name) < 200, name


def test_no_lock_names_a_host() -> None:
    provider = REPOSITORY / "tests" / "infra" / "provider"
    for lock in [*REPOSITORY.glob("requirements*.txt"), *TEMPLATE.rglob("requirements*.txt"), *provider.glob("*.txt")]:
        text = lock.read_text()
        assert "--hash=sha256:" in text
        assert "://" not in text, lock
