"""Updates: what the user wrote in services/ survives, what the template owns changes."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.project import REPOSITORY, copier, render

if TYPE_CHECKING:
    from pathlib import Path


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.invalid", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


def release(template: Path, tag: str) -> None:
    git(template, "add", "-A")
    git(template, "commit", "-qm", tag)
    git(template, "tag", tag)


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with this template as v1, and a v2 that changes a file of every kind of owner."""
    template = tmp_path_factory.mktemp("template") / "tracerun"
    template.mkdir()
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    wanted = ("copier.yml", "template", "hooks")
    if listed.returncode == 0:
        for name in listed.stdout.split("\0"):
            if name.startswith(wanted) and (REPOSITORY / name).exists():
                (template / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(REPOSITORY / name, template / name)
    else:
        for name in wanted:
            source = REPOSITORY / name
            ignore = shutil.ignore_patterns(".venv", "__pycache__", ".*_cache")
            if source.is_dir():
                shutil.copytree(source, template / name, ignore=ignore)
            else:
                shutil.copy(source, template)
    git(template, "init", "-q", "-b", "main")
    release(template, "v1.0.0")
    (service,) = (template / "template" / "services").iterdir()
    for path in (
        template / "template" / "libs" / "python" / "src" / "tracerun" / "settings.py",
        template / "template" / "e2e" / "cloudrun" / "rules.py",
        template / "template" / "Makefile",
        service / "app" / "main.py",
        service / "Dockerfile",
        template / "template" / "README.md.jinja",
        template / "template" / "local.mk",
        template / "template" / "e2e" / "expect.yaml",
        template / "template" / ".gitignore.jinja",
        template / "template" / "topology.yaml.jinja",
        template / "template" / "infra" / "services.tf",
        template / "template" / "infra" / "terraform.tfvars.jinja",
        template / "template" / "infra" / "extra.tf",
        template / "template" / "infra" / "backend.tf",
        template / "template" / "infra" / "backend.hcl.jinja",
        template / "template" / "infra" / "compliance" / "own-project-roles.txt",
    ):
        path.write_text(path.read_text() + "# changed by v2\n")
    (service / "app" / "new.py").write_text("# new in v2\n")
    release(template, "v2.0.0")
    return template


@pytest.fixture
def old(releases: Path, tmp_path: Path) -> Path:
    """A project made with v1, under version control."""
    project = tmp_path / "orders"
    assert copier("copy", "-q", "--defaults", "--vcs-ref", "v1.0.0", releases, project).returncode == 0
    git(project, "init", "-q", "-b", "main")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "start")
    return project


def update(project: Path, *answers: str) -> subprocess.CompletedProcess[str]:
    git(project, "add", "-A")
    git(project, "commit", "-qm", "edits", "--allow-empty")
    return copier("update", "-q", "--defaults", *answers, cwd=project)


OWNED_BY_USER = (
    "services/api/app/main.py",
    "services/api/Dockerfile",
    "README.md",
    "local.mk",
    "e2e/expect.yaml",
    ".gitignore",
    "infra/terraform.tfvars",
    "infra/extra.tf",
    "infra/backend.tf",
    "infra/backend.hcl",
    "infra/compliance/own-project-roles.txt",
)
OWNED_BY_TEMPLATE = ("libs/python/src/tracerun/settings.py", "e2e/cloudrun/rules.py", "Makefile", "infra/services.tf")


def test_the_users_edits_survive_and_the_templates_files_change(old: Path) -> None:
    for name in OWNED_BY_USER:
        (old / name).write_text("# mine\n")
    (old / "services" / "api" / "app" / "own.py").write_text("# mine too\n")
    result = update(old)
    assert result.returncode == 0, result.stderr
    for name in OWNED_BY_USER:
        assert (old / name).read_text() == "# mine\n", name
    assert (old / "services" / "api" / "app" / "own.py").exists()
    assert not (old / "services" / "api" / "app" / "new.py").exists()
    for name in OWNED_BY_TEMPLATE:
        assert (old / name).read_text().endswith("# changed by v2\n"), name


def test_topology_is_merged(old: Path) -> None:
    path = old / "topology.yaml"
    path.write_text(path.read_text().replace("ratio: 0.1", "ratio: 0.5"))
    assert update(old).returncode == 0
    assert "ratio: 0.5" in path.read_text()
    assert path.read_text().endswith("# changed by v2\n")
    assert "<<<<<<<" not in path.read_text()


@pytest.mark.parametrize(
    "deleted",
    [
        "services/api/Dockerfile",
        pytest.param("services/api/app/clients.py", marks=pytest.mark.slow),
        pytest.param("services/api/tests", marks=pytest.mark.slow),
    ],
)
def test_what_the_user_deleted_does_not_come_back(old: Path, deleted: str) -> None:
    path = old / deleted
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    for _ in range(2):
        assert update(old).returncode == 0
        assert not path.exists()
    assert (old / "services" / "api" / "app" / "main.py").exists()


@pytest.mark.slow
def test_an_edited_file_survives_when_all_files_beside_its_folder_are_gone(old: Path) -> None:
    service = old / "services" / "api"
    for path in list(service.iterdir()):
        if path.name != "app":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    (service / "app" / "main.py").write_text("# mine\n")
    assert update(old).returncode == 0
    assert (service / "app" / "main.py").read_text() == "# mine\n"


def test_an_update_equals_a_fresh_copy_where_the_template_owns(old: Path, releases: Path, tmp_path: Path) -> None:
    assert update(old).returncode == 0
    fresh = tmp_path / "fresh"
    assert copier("copy", "-q", "--defaults", "--vcs-ref", "v2.0.0", releases, fresh).returncode == 0
    for path in fresh.rglob("*"):
        name = str(path.relative_to(fresh))
        if path.is_file() and name not in OWNED_BY_USER and not name.startswith("services/"):
            assert (old / name).read_text() == path.read_text(), name


@pytest.mark.parametrize("answer", ["project_name=other", "framework=python-grpc"])
def test_an_answer_that_cannot_change_is_refused_and_nothing_is_written(old: Path, answer: str) -> None:
    result = update(old, "-d", answer)
    assert result.returncode != 0
    assert answer.partition("=")[0] in result.stderr.strip().splitlines()[-1]
    assert git(old, "status", "--porcelain") == ""


def test_no_line_of_noise_on_copy_and_update(releases: Path, tmp_path: Path) -> None:
    result = render(tmp_path / "p", source=releases)
    assert result.stderr == ""
