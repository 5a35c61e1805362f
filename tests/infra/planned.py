"""A plan, as tests ask for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def resource_attributes(variables: Mapping[str, str | None]) -> dict[str, str]:
    """Return what a container's variables say of its resource."""
    return dict(pair.split("=", 1) for pair in (variables["OTEL_RESOURCE_ATTRIBUTES"] or "").split(","))


@dataclass(frozen=True)
class Container:
    """A container of a planned service."""

    data: dict[str, Any]

    @property
    def values(self) -> dict[str, str | None]:
        """Plain variables; None for what only the apply will know."""
        return {entry["name"]: entry.get("value") for entry in self.data["env"] or [] if not entry["value_source"]}

    @property
    def secrets(self) -> dict[str, tuple[str, str]]:
        """Variables from secrets: secret and version."""
        return {
            entry["name"]: (reference["secret"], reference["version"])
            for entry in self.data["env"] or []
            for source in entry["value_source"]
            for reference in source["secret_key_ref"]
        }

    @property
    def resources(self) -> dict[str, Any]:
        (resources,) = self.data["resources"]
        found: dict[str, Any] = resources
        return found

    def probe(self, kind: str = "startup_probe") -> dict[str, Any]:
        """Return the probe without what it leaves out."""
        (probe,) = self.data[kind]
        return {key: value for key, value in probe.items() if value not in (None, [], 0)}


@dataclass(frozen=True)
class Plan:
    """A plan as Terraform shows it in JSON."""

    data: dict[str, Any]

    def after(self, kind: str) -> dict[str, dict[str, Any]]:
        """Return the planned resources of the type `kind` by their keys."""
        return {
            str(change.get("index", change["name"])): change["change"]["after"]
            for change in self.data["resource_changes"]
            if change["type"] == kind and change["mode"] == "managed"
        }

    @property
    def services(self) -> dict[str, dict[str, Any]]:
        return self.after("google_cloud_run_v2_service")

    def containers(self, service: str) -> dict[str, Container]:
        (template,) = self.services[service]["template"]
        return {container["name"]: Container(container) for container in template["containers"]}

    def network_access(self, service: str) -> list[dict[str, Any]]:
        """Return the service's way into a VPC network: one, or none."""
        (template,) = self.services[service]["template"]
        accesses: list[dict[str, Any]] = template["vpc_access"]
        return accesses

    def account(self, service: str) -> str:
        """Return the account that the service runs as."""
        (template,) = self.services[service]["template"]
        return str(template["service_account"])

    @property
    def callers(self) -> set[tuple[str, str]]:
        """Who may call which Cloud Run service."""
        grants = self.after("google_cloud_run_v2_service_iam_member").values()
        assert {grant["role"] for grant in grants} <= {"roles/run.invoker"}
        return {(grant["name"], grant["member"]) for grant in grants}
