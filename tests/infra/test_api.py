"""Whatever a plan says of a Cloud Run service is a message of Cloud Run's own API, enum values included."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from google.cloud import run_v2
from google.protobuf import json_format

from tests.infra.topologies import Case, each_value

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.descriptor import Descriptor

    from tests.infra.planned import Plan

OF_THE_PROVIDER = {"id", "location", "project", "timeouts", "deletion_protection", "deletion_policy", "name"}
"""Arguments of Terraform's resource that its API does not have, or has in the address."""

pytestmark = pytest.mark.slow


def message(kind: Descriptor, planned: dict[str, Any]) -> dict[str, Any]:
    """Turn a planned block into the JSON of the message `kind`; a key that it lacks raises `KeyError`."""
    fields = {field.json_name: field for field in kind.fields}
    result: dict[str, Any] = {}
    for name, value in planned.items():
        if value in (None, [], {}):
            continue
        first, *others = name.split("_")
        key = first + "".join(map(str.capitalize, others))
        field = fields[key]
        is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
        if field.message_type is None or is_map or field.message_type.full_name == "google.protobuf.Duration":
            result[key] = value
        elif field.is_repeated:
            result[key] = [message(field.message_type, item) for item in value]
        else:
            (only,) = value
            result[key] = message(field.message_type, only)
    return result


def as_api_message(service: dict[str, Any]) -> Any:
    settable = {key: value for key, value in service.items() if key not in OF_THE_PROVIDER}
    descriptor = run_v2.Service.pb(run_v2.Service()).DESCRIPTOR
    return json_format.ParseDict(message(descriptor, settable), run_v2.Service.pb(run_v2.Service()))


@pytest.mark.parametrize("case", each_value(), ids=str)
def test_every_planned_service_is_a_message_of_the_api(plan_of: Callable[..., Plan], case: Case) -> None:
    options = {"liveness_probes": "true", "network": '{"network":"n","subnetwork":"s"}', "traffic": '{"api":{"r":50}}'}
    for variables in ({}, options):
        plan = plan_of(case, **variables)
        for name, service in plan.services.items():
            parsed = as_api_message(service)
            assert parsed.template.containers[0].name == "app"
            assert parsed.ingress in {1, 2}, name


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("ingress",), "INGRESS_TRAFFIC_INTERNAL"),
        (("traffic", 0, "type"), "LATEST"),
        (("template", 0, "vpc_access", 0, "egress"), "all-traffic"),
    ],
)
def test_a_word_that_the_api_does_not_know_is_noticed(
    plan_of: Callable[..., Plan], path: tuple[str | int, ...], value: str
) -> None:
    service = plan_of(Case(services="many")).services["api"]
    inner: Any = service
    for step in path[:-1]:
        inner = inner[step]
    kept, inner[path[-1]] = inner[path[-1]], value
    try:
        with pytest.raises(json_format.ParseError):
            as_api_message(service)
    finally:
        inner[path[-1]] = kept
