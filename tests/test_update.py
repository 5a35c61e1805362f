"""Updates: what the user wrote survives, what the template owns changes, and a project can grow."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from cloudrun import expect, topology
from cloudrun.errors import TopologyError

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
        template / "template" / "e2e" / "expect.yaml.jinja",
        template / "template" / ".gitignore.jinja",
        template / "template" / "infra" / "services.tf",
        template / "template" / "infra" / "terraform.tfvars.jinja",
        template / "template" / "infra" / "extra.tf",
        template / "template" / "infra" / "backend.tf",
        template / "template" / "infra" / "backend.hcl.jinja",
        template / "template" / "infra" / "compliance" / "own-project-roles.txt",
    ):
        path.write_text(path.read_text() + "# changed by v2\n")
    described = template / "template" / "topology.yaml.jinja"
    described.write_text(described.read_text().replace("# Cloud Run region.", "# Changed by v2."))
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
    assert "# Changed by v2." in path.read_text()
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


@pytest.mark.parametrize(
    "answer",
    [
        "project_name=other",
        pytest.param("framework=python-grpc", marks=pytest.mark.slow),
        pytest.param("topology=mesh", marks=pytest.mark.slow),
    ],
)
def test_an_answer_that_cannot_change_is_refused_and_nothing_is_written(old: Path, answer: str) -> None:
    result = update(old, "-d", answer)
    assert result.returncode != 0
    assert answer.partition("=")[0] in result.stderr.strip().splitlines()[-1]
    assert git(old, "status", "--porcelain") == ""


def test_no_line_of_noise_on_copy_and_update(releases: Path, tmp_path: Path) -> None:
    result = render(tmp_path / "p", source=releases)
    assert result.stderr == ""


SAME = ("--vcs-ref", ":current:")
versions = pytest.mark.parametrize("version", [SAME, ()], ids=["same", "newer"])
GROWN = ("-d", "topology=chain")
NEW_FILES = {".copier-answers.yml": "M", "topology.yaml": "M", "services/pricing": "?", "services/inventory": "?"}


def changes(project: Path) -> dict[str, str]:
    """Return what the last update did to files, and to whole folders that are new."""
    lines = git(project, "status", "--porcelain").splitlines()
    return {line[3:].rstrip("/"): line[:2].strip()[0] for line in lines}


def add_by_hand(project: Path, name: str) -> None:
    """Add a service as README.md says."""
    folder = project / "services" / name
    folder.mkdir()
    archive = subprocess.run(["git", "archive", "HEAD:services/api"], cwd=project, capture_output=True, check=True)
    subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
    with (project / "topology.yaml").open("a") as file:
        file.write(f"  # Mine.\n  {name}:\n    framework: python-fastapi\n    access: private\n")


@pytest.mark.slow
def test_growing_adds_two_services_and_touches_nothing_else(old: Path, releases: Path, tmp_path: Path) -> None:
    result = update(old, *SAME, *GROWN)
    assert (result.returncode, result.stderr) == (0, "")
    assert changes(old) == NEW_FILES
    fresh = tmp_path / "fresh"
    assert copier("copy", "-q", "--defaults", *GROWN, "--vcs-ref", "v1.0.0", releases, fresh).returncode == 0
    for path in fresh.rglob("*"):
        if path.is_file() and path.name not in {"README.md", "expect.yaml"}:
            assert (old / path.relative_to(fresh)).read_text() == path.read_text(), path
    assert expect.load(old, topology.load(old).services), "what was expected before can still be"
    assert update(old, *SAME).returncode == 0
    assert changes(old) == {}, "a second update has nothing to do"


def edit_service(project: Path) -> None:
    """Do to the service what users do: edit, add, delete, rename."""
    service = project / "services" / "api"
    (service / "app" / "main.py").write_text("# mine\n")
    (service / "app" / "own.py").write_text("# mine too\n")
    (service / "Dockerfile").unlink()
    (service / "app" / "clients.py").rename(service / "app" / "calls.py")
    shutil.rmtree(service / "tests")


@versions
@pytest.mark.slow
def test_growing_leaves_an_edited_service_alone(old: Path, version: tuple[str, ...]) -> None:
    edit_service(old)
    for answers in (GROWN, ()):
        result = update(old, *version, *answers)
        assert (result.returncode, result.stderr) == (0, "")
        changed = changes(old)
        assert not [name for name in changed if name.startswith("services/api")]
        if answers:
            assert changed.items() >= NEW_FILES.items()
    assert (old / "services" / "pricing" / "app" / "main.py").read_text() != "# mine\n"


@pytest.mark.slow
@versions
def test_growing_merges_into_an_edited_topology(old: Path, version: tuple[str, ...]) -> None:
    path = old / "topology.yaml"
    text = path.read_text()
    for before, after in (
        ("billing: request\n", "billing: instance\n"),
        ("  ratio: 0.1\n", "  ratio: 0.5\n"),
        ("    access: public\n", "    access: private\n    env:\n      LOG_LEVEL: debug\n    min_instances: 1\n"),
    ):
        assert before in text
        text = text.replace(before, after)
    path.write_text(text)
    add_by_hand(old, "stock")
    result = update(old, *version, *GROWN)
    assert (result.returncode, result.stderr) == (0, "")
    merged = topology.load(old)
    assert list(merged.services) == ["api", "pricing", "inventory", "stock"]
    assert (merged.billing, merged.sampling.ratio) == ("instance", 0.5)
    api = merged.services["api"]
    assert (api.access, api.env, api.min_instances, api.calls) == ("private", {"LOG_LEVEL": "debug"}, 1, ("pricing",))
    assert merged.services["pricing"].calls == ("inventory",)
    assert "# Mine.\n  stock:" in path.read_text()
    assert not [name for name in changes(old) if name.startswith(("services/api", "services/stock"))]


@pytest.mark.slow
def test_two_that_give_api_something_to_call_is_a_conflict_that_is_seen(old: Path) -> None:
    add_by_hand(old, "stock")
    path = old / "topology.yaml"
    path.write_text(path.read_text().replace("    calls: []\n", "    calls: [stock]\n"))
    assert update(old, *SAME, *GROWN).returncode == 0
    conflict = path.read_text().split("<<<<<<<")[1].split(">>>>>>>")[0]
    assert "calls: [stock]" in conflict
    assert "calls: [pricing]" in conflict
    assert path.read_text().count("<<<<<<<") == 1
    with pytest.raises(TopologyError):
        topology.load(old)
    assert (old / "services" / "stock" / "app" / "main.py").exists()


@pytest.mark.slow
def test_an_own_service_with_a_name_that_growing_wants_stays_as_it_is(old: Path) -> None:
    add_by_hand(old, "pricing")
    (old / "services" / "pricing" / "app" / "main.py").write_text("# mine\n")
    (old / "services" / "pricing" / "Dockerfile").unlink()
    assert update(old, *SAME, *GROWN).returncode == 0
    assert {name: kind for name, kind in changes(old).items() if name.startswith("services/")} == {
        "services/inventory": "?"
    }
    with pytest.raises(TopologyError, match=r"services\.pricing: stands twice"):
        topology.load(old)


@pytest.mark.slow
def test_a_chain_does_not_shrink_and_nothing_is_written(old: Path) -> None:
    assert update(old, *SAME, *GROWN).returncode == 0
    result = update(old, *SAME, "-d", "topology=single")
    assert result.returncode != 0
    last = result.stderr.strip().splitlines()[-1]
    assert 'topology can grow from single only: this project has "chain", got "single"' in last
    assert changes(old) == {}
    assert (old / "services" / "inventory" / "app" / "main.py").exists()


@pytest.mark.slow
def test_the_entry_can_become_private_later(old: Path) -> None:
    path = old / "topology.yaml"
    path.write_text(
        path.read_text().replace("    framework: python-fastapi\n", "    framework: python-fastapi # ours\n")
    )
    assert update(old, *SAME, "-d", "access=private").returncode == 0
    assert topology.load(old).services["api"].access == "private"
    assert "# ours" in path.read_text()
