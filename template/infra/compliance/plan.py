"""The plan, as the steps read it.

Built-in steps drop empty blocks, do not see pairs of names and values, and look at one resource at a time.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from radish import world
from terraform_compliance.common.error_handling import Error

if TYPE_CHECKING:
    from collections.abc import Iterator

Resource = dict[str, Any]


def fail(step: Any, message: str) -> None:
    """Report `message`; the scenario goes on and fails in the end."""
    Error(step, message)


def first(blocks: list[Resource] | None) -> Resource:
    """Return the only block of a list, or an empty one: a block that is left out is missing, [] or null in a plan."""
    return (blocks or [{}])[0] or {}


def after(kind: str) -> dict[str, Resource]:
    """Return every resource of the type `kind` that will exist, by its address."""
    return {
        change["address"]: change["change"]["after"]
        for change in world.config.terraform.raw["resource_changes"]
        if change["type"] == kind and change["mode"] == "managed" and change["change"]["after"]
    }


def topology() -> Resource:
    """Return topology.yaml with its defaults."""
    value: Resource = world.config.terraform.raw["planned_values"]["outputs"]["topology"]["value"]
    return value


def services() -> dict[str, Resource]:
    """Return the Cloud Run services of topology.yaml by their names there; others are not judged."""
    found = {
        change["index"]: change["change"]["after"]
        for change in world.config.terraform.raw["resource_changes"]
        if change["address"].startswith("google_cloud_run_v2_service.service[") and change["change"]["after"]
    }
    if found.keys() != topology()["services"].keys():
        raise AssertionError(f"planned are {sorted(found)}, topology.yaml has {sorted(topology()['services'])}")
    return found


def containers() -> Iterator[tuple[str, Resource]]:
    """Yield every container with its place."""
    for name, service in services().items():
        for container in first(service["template"])["containers"]:
            yield f"{name}/{container.get('name')}", container


def applications() -> Iterator[tuple[str, Resource, Resource]]:
    """Yield every service with the container that serves its requests."""
    for name, service in services().items():
        (app,) = [container for container in first(service["template"])["containers"] if container["name"] == "app"]
        yield name, service, app


def url_of(service: str) -> re.Pattern[str]:
    """Return a pattern of the URL that Cloud Run gives a service before it exists.

    https://cloud.google.com/run/docs/triggering/https-request#deterministic
    """
    planned = services()[service]
    return re.compile(rf"https://{planned['name']}-[0-9]+\.{planned['location']}\.run\.app")


def collectors(service: Resource) -> list[Resource]:
    """Return the collectors beside a service: one, or none."""
    return [container for container in first(service["template"])["containers"] if container["name"] == "collector"]


def sidecars() -> Iterator[tuple[str, Resource, Resource]]:
    """Yield every collector: the service's name, the container that serves its requests, the collector."""
    for name, service, app in applications():
        for collector in collectors(service):
            yield name, app, collector


def plain(container: Resource) -> dict[str, str | None]:
    """Return the variables that do not come from secrets; None for values that only the apply will know."""
    return {entry["name"]: entry.get("value") for entry in container.get("env") or [] if not entry.get("value_source")}


def secrets(container: Resource) -> dict[str, str]:
    """Return the secret of each variable that comes from one."""
    return {
        entry["name"]: reference["secret"]
        for entry in container.get("env") or []
        for source in entry.get("value_source") or []
        for reference in source["secret_key_ref"]
    }
