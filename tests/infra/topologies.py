"""Topologies for the tests: every combination of what changes the plan, with values that are nowhere the default."""

from __future__ import annotations

import copy
import itertools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cloudrun.topology import Topology

from tests.infra.conftest import DIGEST, IMAGES

if TYPE_CHECKING:
    from pathlib import Path

DIMENSIONS: Final[dict[str, tuple[str, ...]]] = {
    "export": ("sidecar", "direct", "other", "other-with-headers"),
    "billing": ("request", "instance"),
    "access": ("public", "private"),
    "protocol": ("http", "grpc"),
    "services": ("one", "chain", "diamond", "many"),
}
OTHER: Final = "https://otlp.example:4318"
EXPORTS: Final[dict[str, dict[str, Any]]] = {
    "sidecar": {"exporter": "sidecar", "backend": "google"},
    "direct": {"exporter": "direct", "backend": "google"},
    "other": {"exporter": "direct", "backend": OTHER},
    "other-with-headers": {"exporter": "direct", "backend": OTHER, "backend_headers_secret": "otlp-headers"},
}


# Beside the entry; of the entry only what differs. Nothing is named from both ends, and no list is sorted.
SHAPES: Final[dict[str, tuple[dict[str, Any], dict[str, Any]]]] = {
    "one": ({}, {}),
    "chain": (
        {"calls": ["pricing"]},
        {
            "pricing": {
                "framework": "python-fastapi",
                "access": "private",
                "ingress": "internal",
                "calls": ["inventory"],
                "max_instances": 3,
            },
            "inventory": {"framework": "python-fastapi", "access": "private", "ingress": "internal"},
        },
    ),
    # api calls services of every kind; tax and fx-rates call the same one; fx-rates calls the entry back.
    "diamond": (
        {"calls": ["tax", "fx-rates", "account"]},
        {
            "tax": {"framework": "python-fastapi", "access": "private", "ingress": "internal", "calls": ["ledger"]},
            "fx-rates": {"framework": "node-fastify", "ingress": "internal", "calls": ["ledger", "api"]},
            "account": {"framework": "go-nethttp", "access": "private"},
            "ledger": {"framework": "go-grpc", "access": "private", "ingress": "internal"},
        },
    ),
    # api calls stock; stock and price-list call each other; nobody calls audit.
    "many": (
        {
            "calls": ["stock"],
            "env": {"LOG_LEVEL": "debug", "OTEL_SDK_DISABLED": "true"},
            "secrets": {"API_KEY": "partner-key", "SIGNING_KEY": "signing:7"},
            "min_instances": 1,
            "max_instances": 7,
            "concurrency": 31,
            "cpu": "2",
            "memory": "1Gi",
        },
        {
            "stock": {
                "framework": "python-grpc",
                "access": "private",
                "ingress": "internal",
                "calls": ["price-list"],
            },
            "price-list": {"framework": "go-nethttp", "access": "private", "calls": ["stock"]},
            "audit": {"framework": "node-fastify", "access": "private"},
        },
    ),
}


@dataclass(frozen=True)
class Case:
    """One combination."""

    export: str = "sidecar"
    billing: str = "request"
    access: str = "public"
    protocol: str = "http"
    services: str = "one"

    def __str__(self) -> str:
        return f"{self.export}-{self.billing}-{self.access}-{self.protocol}-{self.services}"

    @property
    def data(self) -> dict[str, Any]:
        """What topology.yaml says."""
        api: dict[str, Any] = {
            "framework": "go-grpc" if self.protocol == "grpc" else "python-fastapi",
            "access": self.access,
        }
        entry, others = copy.deepcopy(SHAPES[self.services])
        services = {"api": {**api, **entry}, **others}
        return {
            "project": "shop",
            "region": "us-east4",
            **EXPORTS[self.export],
            "billing": self.billing,
            "sampling": {
                "ratio": 0.25,
                "keep_errors": False,
                "keep_slower_than_ms": 750,
                "max_traces_per_second": 2000000,
            },
            "services": services,
        }

    @property
    def topology(self) -> Topology:
        """The same for the simulator, also where its checker does not support it yet."""
        return Topology.of(self.data)

    def written(self, folder: Path) -> dict[str, str]:
        """Return the variables of a plan of it, written to `folder`."""
        return written(self.data, folder)


def written(data: dict[str, Any], folder: Path) -> dict[str, str]:
    """Return the variables of a plan of the topology `data`, written to `folder`."""
    file = folder / "topology.yaml"
    file.write_text(json.dumps(data))
    images = {name: f"{IMAGES}{name}@{DIGEST}" for name in data["services"]}
    return {"topology_file": str(file), "images": json.dumps(images)}


CHAINS: Final = [
    Case(export=export, billing=billing, services="chain") for export in EXPORTS for billing in DIMENSIONS["billing"]
]
ALL: Final = [Case(*values) for values in itertools.product(*DIMENSIONS.values())]


def pairwise() -> list[Case]:
    """Return few cases in which every pair of values of two dimensions stands together."""
    names = list(DIMENSIONS)
    open_pairs = {
        (first, one, second, other)
        for first, second in itertools.combinations(names, 2)
        for one in DIMENSIONS[first]
        for other in DIMENSIONS[second]
    }
    chosen = []
    while open_pairs:
        best = max(ALL, key=lambda case: len(_pairs(case) & open_pairs))
        open_pairs -= _pairs(best)
        chosen.append(best)
    return chosen


def each_value() -> list[Case]:
    """Return the fewest cases in which every value of every dimension stands."""
    most = max(map(len, DIMENSIONS.values()))
    return [Case(*(values[number % len(values)] for values in DIMENSIONS.values())) for number in range(most)]


def _pairs(case: Case) -> set[tuple[str, str, str, str]]:
    return {
        (first, getattr(case, first), second, getattr(case, second))
        for first, second in itertools.combinations(DIMENSIONS, 2)
    }
