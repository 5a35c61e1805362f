"""Steps on ingress and egress."""

from __future__ import annotations

from typing import Any

from radish import then, world

from plan import after, applications, fail, first, plain, secrets, services, topology, url_of

INGRESS = {"all": "INGRESS_TRAFFIC_ALL", "internal": "INGRESS_TRAFFIC_INTERNAL_ONLY"}
PRIVATE_ADDRESSES = {f"199.36.153.{host}" for host in range(8, 12)}
"""Of private.googleapis.com: https://cloud.google.com/vpc/docs/configure-private-google-access#config-options."""


@then("every service has the ingress of topology.yaml")
def ingress(step: Any) -> None:
    for name, service in services().items():
        wanted = INGRESS[topology()["services"][name]["ingress"]]
        if service["ingress"] != wanted:
            fail(step, f"{name} has {service['ingress']}, topology.yaml means {wanted}")


@then("every service finds those that it calls")
def addresses(step: Any) -> None:
    for name, _, app in applications():
        declared = topology()["services"][name]
        for callee in declared["calls"]:
            key = f"{callee.upper().replace('-', '_')}_URL"
            found = plain(app).get(key)
            if key not in declared["env"].keys() | secrets(app).keys() and not url_of(callee).fullmatch(found or ""):
                fail(step, f"{name}: {key} is {found}, which is not the address of {callee}")


@then("every caller of an internal service leaves through a network that leads to it")
def leaves(step: Any) -> None:
    declared = topology()["services"]
    for name, service in services().items():
        internal = [callee for callee in declared[name]["calls"] if declared[callee]["ingress"] == "internal"]
        access = first(first(service["template"]).get("vpc_access"))
        if internal and not access.get("network_interfaces"):
            fail(step, f"{name} calls {', '.join(internal)}, and leaves through no network")
        elif internal and access["egress"] != "ALL_TRAFFIC" and not leads_to_run_app():
            fail(step, f"{name} calls {', '.join(internal)}: its egress is {access['egress']}, run.app is public there")


@then("no service sends all its traffic into a network without Internet")
def internet(step: Any) -> None:
    made_here = "google_compute_network.egress[0]" in after("google_compute_network")
    for name, service in services().items():
        egress = first(first(service["template"]).get("vpc_access")).get("egress")
        if made_here and egress not in {None, "PRIVATE_RANGES_ONLY"}:
            fail(step, f"{name} sends {egress} into the network that is made here, which has no Cloud NAT")


def leads_to_run_app() -> bool:
    """Tell whether run.app has private addresses in the network: by a zone made here, or by one that is there."""
    network = (world.config.terraform.raw["variables"].get("network") or {}).get("value") or {}
    zones = [
        zone["name"]
        for zone in after("google_dns_managed_zone").values()
        if zone["dns_name"] == "run.app."
        and zone["visibility"] == "private"
        and first(zone["private_visibility_config"]).get("networks")
    ]
    records = after("google_dns_record_set").values()
    return network.get("private_run_app", False) or any(
        (record["name"], record["type"], set(record["rrdatas"])) == ("*.run.app.", "A", PRIVATE_ADDRESSES)
        and record["managed_zone"] in zones
        for record in records
    )
