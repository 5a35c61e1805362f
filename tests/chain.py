"""What a request leaves behind in the three services of `topology: chain`."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

from cloudrun.sampling import new_span_id

from tests.project import CHAIN

if TYPE_CHECKING:
    from cloudrun import CloudRun, Span, Trace
    from cloudrun.client import Reply

SERVER: Final = "SERVER GET /items/{id}"
CLIENT: Final = "CLIENT GET"
WHOLE: Final = [
    ("api", SERVER),
    ("api", CLIENT),
    ("pricing", SERVER),
    ("pricing", CLIENT),
    ("inventory", SERVER),
]
"""The spans of `GET /items/1`, each the parent of the next."""


def path_of(trace: Trace) -> list[Span]:
    """Return the services' spans from the root on; fails unless each is the only child of the one before."""
    own = trace.own()
    present = {span.span_id for span in own}
    path = [span for span in own if span.parent_id not in present]
    while path and (children := [span for span in own if span.parent_id == path[-1].span_id]):
        path += children
    shown = [(span.service, span.label) for span in own]
    assert len(path) == len(own), f"the spans are no path: {shown}"
    assert all(child.parent_id == parent.span_id for parent, child in pairwise(path)), f"a branch in {shown}"
    return path


def labels(trace: Trace) -> list[tuple[str, str]]:
    return [(span.service, span.label) for span in path_of(trace)]


def seen(trace: Trace) -> list[tuple[str, str, str]]:
    """Return service, kind and status of all spans of the services, in the order of their start."""
    return [(span.service, span.kind, span.status) for span in trace.own()]


def get(run: CloudRun, trace_id: str, path: str = "/items/1") -> Reply:
    """Send a request whose trace the caller names."""
    return run.get(path, headers={"traceparent": f"00-{trace_id}-{new_span_id()}-00"})


def frozen(run: CloudRun) -> bool:
    """Tell whether no instance of any service has CPU."""
    return all(instance.frozen for service in CHAIN for instance in run.instances(service))


def freezes(run: CloudRun) -> dict[str, int]:
    return {service: sum(one.freezes for one in run.instances(service)) for service in CHAIN}
