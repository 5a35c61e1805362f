from __future__ import annotations

import hashlib
import json
import shutil
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock

from tests.infra.planned import Plan
from tests.infra.tools import Provider, Terraform
from tests.project import NOT_COPIED, render

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.infra.topologies import Case

PROJECT_ID = "offline-project"
PROJECT_NUMBER = "123456789012"
IMAGES = "europe-west1-docker.pkg.dev/offline-project/shop/"
DIGEST = "sha256:" + "0123456789ab" * 5 + "abcd"


@pytest.fixture(scope="session")
def google() -> Iterator[Provider]:
    """The newest release of the google provider that is supported."""
    provider = Provider("8")
    yield provider
    provider.stop()


@pytest.fixture(scope="session")
def google_7() -> Iterator[Provider]:
    """The oldest release of the google provider that is supported."""
    provider = Provider("7")
    yield provider
    provider.stop()


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The default project, not installed; one for all workers of a run. Nothing may be written into it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "rendered" / "orders"
    with FileLock(f"{folder.parent}.lock"):
        if not folder.exists():
            result = render(folder)
            assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture(scope="session")
def project_copy(rendered: Path) -> Callable[[Path], Path]:
    """Copy the rendered project's part that Terraform sees, with a local state."""

    def copy(destination: Path) -> Path:
        destination.mkdir(parents=True)
        for name in ("topology.yaml", "topology.schema.json"):
            shutil.copy(rendered / name, destination)
        for name in ("collector", "infra"):
            ignored = shutil.ignore_patterns(*NOT_COPIED, "backend.tf")
            shutil.copytree(rendered / name, destination / name, ignore=ignored)
        return destination

    return copy


def terraform(project: Path, provider: Provider, **variables: str) -> Terraform:
    """Return an initialised Terraform in the project's infra/."""
    defaults = {"project_id": PROJECT_ID, "project_number": PROJECT_NUMBER}
    (project / "infra" / "terraform.tfvars").write_text("# values come from the environment\n")
    result = Terraform(project / "infra", provider, {**defaults, **variables})
    result.must("init", "-input=false")
    return result


@pytest.fixture(scope="session")
def planner(
    project_copy: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory, google: Provider
) -> Terraform:
    """Terraform in a copy of the project that plans any topology by its variables."""
    return terraform(project_copy(tmp_path_factory.mktemp("planner") / "orders"), google)


@pytest.fixture(scope="session")
def plan_of(planner: Terraform, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Callable[..., Plan]:
    """Return the plan of a case; `variables` come on top. Each is made once, whichever worker asks."""
    base = tmp_path_factory.getbasetemp()
    plans = (base if worker_id == "master" else base.parent) / "plans"
    plans.mkdir(exist_ok=True)

    def plan_of(case: Case, **variables: str) -> Plan:
        key = hashlib.sha256(repr((str(case), sorted(variables.items()))).encode()).hexdigest()[:16]
        file = plans / f"{key}.json"
        with FileLock(f"{file}.lock"):
            if not file.exists():
                chosen = {**case.written(tmp_path_factory.mktemp("case")), **variables}
                file.write_text(json.dumps(planner.having(**chosen).plan()))
        return Plan(json.loads(file.read_text()))

    return plan_of
