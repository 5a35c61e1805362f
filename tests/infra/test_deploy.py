"""What the targets that deploy leave behind."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.project import make

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def project(rendered: Path, tmp_path: Path) -> Path:
    """The files of a project that the targets read."""
    copy = tmp_path / "orders"
    (copy / "services" / "api").mkdir(parents=True)
    (copy / "infra").mkdir()
    shutil.copy(rendered / "Makefile", copy)
    shutil.copy(rendered / "services" / "api" / "Dockerfile", copy / "services" / "api")
    return copy


@pytest.fixture
def planned(project: Path) -> tuple[Path, Path]:
    """A plan and the images that it was made with."""
    files = project / "infra" / "it.tfplan", project / "infra" / "images.auto.tfvars.json"
    for file in files:
        file.touch()
    return files


def test_an_applied_plan_is_used_up_with_its_images(project: Path, planned: tuple[Path, Path]) -> None:
    result = make(project, "apply", "TERRAFORM=true")
    assert result.returncode == 0, result.stderr
    assert not any(file.exists() for file in planned)


def test_after_a_failed_apply_the_images_are_still_known(project: Path, planned: tuple[Path, Path]) -> None:
    assert make(project, "apply", "TERRAFORM=false").returncode != 0
    assert all(file.exists() for file in planned)


DOCKER = """#!/bin/sh
case "$1" in
    push) {push} ;;
    inspect) echo "\\"RepoDigests\\": [\\"${{2%:7}}@sha256:0123\\"]," ;;
esac
"""


@pytest.mark.parametrize("push", ["true", 'test "${3#*pricing}" = "$3"'])
def test_images_are_named_once_all_are_pushed(project: Path, tmp_path: Path, push: str) -> None:
    shutil.copytree(project / "services" / "api", project / "services" / "pricing")
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(DOCKER.format(push=push))
    docker.chmod(0o755)
    path = f"PATH={docker.parent}{os.pathsep}{os.environ['PATH']}"
    result = make(project, "images", "REPOSITORY=x.example/shop", "TAG=7", path)
    named = project / "infra" / "images.auto.tfvars.json"
    if push == "true":
        wanted = {name: f"x.example/shop/{name}:7@sha256:0123" for name in ("api", "pricing")}
        assert json.loads(named.read_text()) == {"images": wanted}, result.stderr
    else:
        assert result.returncode != 0
        assert not named.exists(), "Terraform would read it"
