"""What was observed, held against the rules that the offline Cloud Run imitates."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from cloudrun import rules

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cloudrun.rules import Rule

TRACE_ID: Final = "0af7651916cd43dd8448eb211c80319c"
SPAN_ID: Final = "b7ad6b7169203331"
IDLE: Final = 15.0
"""Seconds in which the probe gets no request."""
GRACE: Final = 10.0
CONTAINERS: Final = frozenset({"app", "sidecar"})
_TRACEPARENT: Final = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


@dataclass(frozen=True)
class Sent:
    """A request to send: its headers, and what it is for."""

    name: str
    headers: Mapping[str, str] = field(default_factory=dict)


def _traceparent(flags: str) -> str:
    return f"00-{TRACE_ID}-{SPAN_ID}-{flags}"


REQUESTS: Final = (
    Sent("no trace headers"),
    Sent("flag 00", {"traceparent": _traceparent("00"), "original-traceparent": _traceparent("00")}),
    Sent("flag 01", {"traceparent": _traceparent("01"), "original-traceparent": _traceparent("01")}),
    Sent("legacy header", {"x-cloud-trace-context": f"{TRACE_ID}/{int(SPAN_ID, 16)};o=1"}),
)


OWN_AUTHORIZATION: Final = "Basic dXNlcjpvd24="


@dataclass(frozen=True)
class Answer:
    """What came back for a request."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    """Those that the container saw; none where the request did not reach it."""


def credentials(token: str) -> dict[str, dict[str, str]]:
    """Return the headers of requests to a private service, by what they show; `token` is an ID token of an invoker."""
    return {
        "no token": {},
        "no valid token": {"authorization": "Bearer eyJhbGciOiJSUzI1NiJ9.e30.c2ln"},
        "a token": {"authorization": f"Bearer {token}"},
        "a token beside": {"authorization": OWN_AUTHORIZATION, "x-serverless-authorization": f"Bearer {token}"},
    }


@dataclass(frozen=True)
class Finding:
    """One rule, and what Cloud Run did."""

    rule: Rule
    agrees: bool
    found: str


def judge_headers(seen: Mapping[str, Mapping[str, str]]) -> Iterator[Finding]:
    """Judge the headers that the container saw, by the name of the request."""
    parents = {name: _TRACEPARENT.fullmatch(headers.get("traceparent", "")) for name, headers in seen.items()}
    found = {name: headers.get("traceparent", "no traceparent") for name, headers in seen.items()}
    yield Finding(rules.TRACEPARENT_FILLED_IN, all(parents.values()), f"traceparent is {found}")
    for name in ("flag 00", "flag 01"):
        parent = parents[name]
        replaced = parent is not None and parent[1] == TRACE_ID and parent[2] != SPAN_ID
        yield Finding(rules.PARENT_REPLACED, replaced, f"{_traceparent(name[-2:])} became {found[name]}")
        passed = seen[name].get("original-traceparent")
        yield Finding(rules.OTHER_HEADERS_PASS, passed == _traceparent(name[-2:]), f"original-traceparent: {passed}")
    forced = parents["flag 01"]
    yield Finding(
        rules.PLATFORM_SAMPLING, forced is not None and forced[3] == "01", f"flag 01 became {found['flag 01']}"
    )
    legacy = parents["legacy header"]
    yield Finding(
        rules.CLOUD_TRACE_HEADER,
        legacy is not None and legacy[1] == TRACE_ID,
        f"X-Cloud-Trace-Context alone became {found['legacy header']}",
    )
    added = {name: headers.get("x-cloud-trace-context", "none") for name, headers in seen.items()}
    both = all(
        parent is not None and added[name].startswith(f"{parent[1]}/{int(parent[2], 16)}")
        for name, parent in parents.items()
    )
    yield Finding(rules.CLOUD_TRACE_HEADER, both, f"X-Cloud-Trace-Context is {added}")


def judge_access(answers: Mapping[str, Answer]) -> Iterator[Finding]:
    """Judge who was let in, by the name of the `credentials`; no word of what is found gives a token away."""
    for name in ("no token", "no valid token"):
        status = answers[name].status
        yield Finding(rules.ID_TOKEN, status == HTTPStatus.UNAUTHORIZED, f"{name} was answered with {status}")
    removed = answers["a token"].headers.get("authorization", "").endswith(".SIGNATURE_REMOVED_BY_GOOGLE")
    yield Finding(rules.SIGNATURE_REMOVED, removed, f"the container got {'no' if removed else 'a'} signature")
    beside = answers["a token beside"]
    passed = beside.status == HTTPStatus.OK and beside.headers.get("authorization") == OWN_AUTHORIZATION
    kept = "kept" if passed else "not kept"
    yield Finding(rules.SERVERLESS_AUTHORIZATION, passed, f"answered with {beside.status}, Authorization was {kept}")


def judge_environment(app: Mapping[str, str], sidecar: Mapping[str, str] | None) -> Iterator[Finding]:
    """Judge the variables of both containers."""
    named = {"K_SERVICE", "K_REVISION", "K_CONFIGURATION"}
    yield Finding(rules.ENVIRONMENT, app.keys() >= {*named, "PORT"}, f"the service's container has {dict(app)}")
    if sidecar is not None:
        agrees = sidecar.keys() >= named and "PORT" not in sidecar
        yield Finding(rules.ENVIRONMENT, agrees, f"the sidecar has {dict(sidecar)}")


def judge_cpu(ticks: Sequence[float], idle_from: float, idle_to: float, *, sidecar: bool = False) -> Finding:
    """Judge the times at which a container had CPU: between two requests there must be a gap."""
    inside = [time for time in ticks if idle_from <= time <= idle_to]
    times = [idle_from, *inside, idle_to]
    longest = max(later - earlier for earlier, later in pairwise(times))
    rule = rules.SIDECAR_CPU if sidecar else rules.CPU_WHILE_ACTIVE
    span = idle_to - idle_from
    return Finding(rule, longest > span / 2, f"of {span:.0f} s without a request, {longest:.1f} s without any CPU")


def judge_end(lines: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Judge the lines that the containers wrote while they were ended."""
    terms = {str(line["probe"]): float(line["at"]) for line in lines if line.get("event") == "SIGTERM"}
    last = {str(line["probe"]): float(line["at"]) for line in lines if "event" in line}
    apart = max(terms.values()) - min(terms.values()) if terms else float("nan")
    at_once = terms.keys() == CONTAINERS and apart < 1
    yield Finding(rules.SIGTERM, at_once, f"SIGTERM came to {sorted(terms)}, {apart:.2f} s apart")
    for name, began in terms.items():
        lived = last[name] - began
        agrees = GRACE - 1.5 <= lived <= GRACE + 1.5
        yield Finding(rules.SIGTERM, agrees, f"{name} lived {lived:.1f} s after SIGTERM")
