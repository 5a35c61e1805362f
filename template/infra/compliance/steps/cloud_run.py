"""Steps on containers, probes, scaling and images."""

from __future__ import annotations

import re
from typing import Any

from radish import then

from plan import applications, containers, fail, first, services, topology

SYSTEM = re.compile(r"^([a-z0-9-]+\.)*(run|cloud)\.googleapis\.com/|^(serving|autoscaling)\.knative\.dev/")


@then("every container limits its CPU and its memory")
def limited(step: Any) -> None:
    for where, container in containers():
        limits = first(container["resources"]).get("limits") or {}
        for name in ("cpu", "memory"):
            if not limits.get(name):
                fail(step, f"{where} does not limit its {name}")


@then("every container has cpu_idle as topology.yaml bills")
def billed(step: Any) -> None:
    wanted = topology()["billing"] == "request"
    for where, container in containers():
        found = first(container["resources"]).get("cpu_idle")
        if found is not wanted:
            fail(step, f"{where} has cpu_idle = {found}, billing: {topology()['billing']} needs {wanted}")


@then("every container has a start-up probe of exactly one kind")
def probed(step: Any) -> None:
    for where, container in containers():
        probe = first(container["startup_probe"])
        kinds = [kind for kind in ("http_get", "grpc", "tcp_socket") if probe.get(kind)]
        if len(kinds) != 1:
            fail(step, f"{where} has start-up probes of the kinds {kinds}")
        elif probe.get("timeout_seconds", 1) > probe.get("period_seconds", 10):
            fail(step, f"{where}: a start-up probe may take longer than its period")


@then("every service is probed at the port that it listens on")
def probed_at_its_port(step: Any) -> None:
    for name, _, app in applications():
        probe = first(app["startup_probe"])
        port = first(app["ports"])["container_port"]
        kind, wanted = ("grpc", None) if speaks_grpc(name) else ("http_get", "/health")
        found = first(probe.get(kind))
        if found.get("port") != port or found.get("path") != wanted:
            fail(step, f"{name} is probed at {found or 'nothing'}, it listens on {port}, path {wanted}")


@then("the first container has the only port")
def first_has_the_port(step: Any) -> None:
    for name, service in services().items():
        ports = [len(container.get("ports") or []) for container in first(service["template"])["containers"]]
        if ports[0] != 1 or any(ports[1:]):
            fail(step, f"{name}: its containers have {ports} ports")


@then("services that speak gRPC name their port h2c, and no others")
def protocol(step: Any) -> None:
    for name, _, app in applications():
        found = first(app["ports"]).get("name")
        wanted = "h2c" if speaks_grpc(name) else "http1"
        if found != wanted:
            fail(step, f"{name} names its port {found}, its framework needs {wanted}")


@then("every service scales as topology.yaml says")
def scaling(step: Any) -> None:
    for name, service in services().items():
        template, wanted = first(service["template"]), topology()["services"][name]
        limits = first(template["scaling"])
        found = (
            limits.get("min_instance_count"),
            limits.get("max_instance_count"),
            template.get("max_instance_request_concurrency"),
        )
        if found != tuple(wanted[key] for key in ("min_instances", "max_instances", "concurrency")):
            fail(step, f"{name} has min_instances, max_instances, concurrency {found}")
    for name, _, app in applications():
        wanted = topology()["services"][name]
        if first(app["resources"]).get("limits") != {"cpu": wanted["cpu"], "memory": wanted["memory"]}:
            fail(step, f"{name} has the limits {first(app['resources']).get('limits')}")


@then("no annotation belongs to the system")
def no_system_annotations(step: Any) -> None:
    for name, service in services().items():
        for key in [*(service.get("annotations") or {}), *(first(service["template"]).get("annotations") or {})]:
            if SYSTEM.search(key):
                fail(step, f"{name} has the annotation {key}: version 2 of the API has an argument for it")


@then("no image is named by the tag latest or by none")
def pinned(step: Any) -> None:
    for where, container in containers():
        if not re.search(r"(@sha256:[0-9a-f]{64}|:(?!latest$)[\w][\w.-]*)$", container["image"]):
            fail(step, f"{where} runs {container['image']}")


@then("the traffic of every service makes 100 percent")
def traffic(step: Any) -> None:
    for name, service in services().items():
        shares = [target["percent"] for target in service["traffic"]]
        if sum(shares) != 100:
            fail(step, f"{name} sends its traffic in shares of {shares}")


def speaks_grpc(service: str) -> bool:
    return str(topology()["services"][service]["framework"]).endswith("-grpc")
