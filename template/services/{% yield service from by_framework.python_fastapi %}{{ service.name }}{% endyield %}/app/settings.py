"""What the environment tells the service."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

_NOT_SERVICES = {"DATABASE_URL", "UPSTREAM_URL"}


@dataclass(frozen=True)
class Settings:
    """Addresses of what the service calls."""

    callees: Mapping[str, str]
    """Services of this system by name, from every `<NAME>_URL`."""
    upstream_url: str | None
    """`UPSTREAM_URL`: a service outside of this system, if there is one."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Read the settings from `environ`."""
        return cls(
            callees={
                name.removesuffix("_URL").lower().replace("_", "-"): url
                for name, url in environ.items()
                if name.endswith("_URL") and name not in _NOT_SERVICES
            },
            upstream_url=environ.get("UPSTREAM_URL"),
        )
