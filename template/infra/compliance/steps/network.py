"""Steps on ingress and egress."""

from __future__ import annotations

from typing import Any

from radish import then

from plan import fail, first, services, topology

INGRESS = {"all": "INGRESS_TRAFFIC_ALL", "internal": "INGRESS_TRAFFIC_INTERNAL_ONLY"}


@then("every service has the ingress of topology.yaml")
def ingress(step: Any) -> None:
    for name, service in services().items():
        wanted = INGRESS[topology()["services"][name]["ingress"]]
        if service["ingress"] != wanted:
            fail(step, f"{name} has {service['ingress']}, topology.yaml means {wanted}")


@then("every caller of an internal service sends all its traffic through the network")
def egress(step: Any) -> None:
    declared = topology()["services"]
    for name, service in services().items():
        internal = [callee for callee in declared[name]["calls"] if declared[callee]["ingress"] == "internal"]
        access = first(first(service["template"]).get("vpc_access"))
        if internal and access.get("egress") != "ALL_TRAFFIC":
            fail(step, f"{name} calls {', '.join(internal)}, its egress is {access.get('egress')}")
