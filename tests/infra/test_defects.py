"""Each deliberate defect is noticed by a check that the project carries."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.infra.conftest import terraform
from tests.infra.defects import CHAIN, IN_PLANS, IN_TESTS, OTHER_GRANTS, PRIVATE, RULES, Defect
from tests.infra.tools import compliance
from tests.infra.topologies import Case, pairwise

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.infra.planned import Plan
    from tests.infra.tools import Provider, Terraform


@pytest.fixture(scope="module")
def broken(
    project_copy: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory, google: Provider
) -> Terraform:
    """Terraform in a copy of the project that tests break, and mend again."""
    return terraform(project_copy(tmp_path_factory.mktemp("broken") / "orders"), google)


@pytest.fixture
def applied(broken: Terraform, request: pytest.FixtureRequest) -> Callable[[Defect], None]:
    """Put a defect into the copy, for one test."""

    def apply(defect: Defect) -> None:
        file = broken.root.parent / defect.file
        text = file.read_text(encoding="utf-8")
        assert defect.before in text, f"{defect.name} cannot be put into {defect.file}"
        request.addfinalizer(lambda: file.write_text(text, encoding="utf-8"))
        file.write_text(text.replace(defect.before, defect.after, 1), encoding="utf-8")

    return apply


@pytest.mark.slow
@pytest.mark.parametrize("defect", [*IN_TESTS, *RULES], ids=str)
def test_terraform_test_notices(broken: Terraform, applied: Callable[[Defect], None], defect: Defect) -> None:
    applied(defect)
    result = replace(broken, variables={}).run("test", f"-filter=tests/{defect.tests}.tftest.hcl")
    assert result.code == 1, result.text[-3000:]
    assert defect.said in result.text, result.text[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("defect", IN_PLANS, ids=str)
def test_terraform_compliance_notices(
    broken: Terraform, applied: Callable[[Defect], None], defect: Defect, tmp_path: Path
) -> None:
    assert defect.case is not None
    applied(defect)
    copy = broken.having(**defect.case.written(tmp_path), network=defect.network)
    result = compliance(copy.root, copy.plan())
    assert result.code == 1, result.text[-3000:]
    assert defect.said in result.text, result.text[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("kind", OTHER_GRANTS)
def test_terraform_compliance_notices_other_ways_to_grant(
    plan_of: Callable[..., Plan], broken: Terraform, kind: str
) -> None:
    plan = plan_of(PRIVATE).data
    (member,) = [change for change in plan["resource_changes"] if change["type"] == "google_project_iam_member"]
    other = {**member, "address": f"{kind}.other", "type": kind, "name": "other"}
    result = compliance(broken.root, {**plan, "resource_changes": [*plan["resource_changes"], other]})
    assert result.code == 1, result.text[-3000:]
    kept = "google_cloud_run_v2_service" if "cloud_run" in kind else kind.partition("_iam_")[0]
    assert f"{kind}.other grants rights that no check reads: use {kept}_iam_member" in result.text, result.text[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("case", pairwise(), ids=str)
def test_terraform_compliance_passes_what_is_right(plan_of: Callable[..., Plan], broken: Terraform, case: Case) -> None:
    result = compliance(broken.root, plan_of(case).data)
    assert result.code == 0, result.text
    assert " failed" not in result.text


@pytest.mark.slow
@pytest.mark.parametrize(
    "network",
    [
        {},
        {"egress": "ALL_TRAFFIC"},
        {"egress": "ALL_TRAFFIC", "private_run_app": True},
        {"private_run_app": True},
    ],
    ids=str,
)
def test_terraform_compliance_passes_an_existing_network(
    plan_of: Callable[..., Plan], broken: Terraform, network: dict[str, object]
) -> None:
    plan = plan_of(CHAIN, network=json.dumps({"network": "shared", "subnetwork": "apps", **network}))
    result = compliance(broken.root, plan.data)
    assert result.code == 0, result.text


@pytest.mark.slow
def test_terraform_test_passes_what_is_right(broken: Terraform) -> None:
    replace(broken, variables={}).must("test")


def test_there_are_many_defects_and_none_twice() -> None:
    defects = [*IN_TESTS, *IN_PLANS, *RULES]
    assert len({(defect.file, defect.before, defect.after) for defect in defects}) >= len(defects) - 1
    assert len({defect.name for defect in defects}) == len(defects)
    assert len(IN_PLANS) >= 25
