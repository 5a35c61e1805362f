"""The offline Cloud Run for tests: every call blocks, the system runs in a thread of its own."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypeVar

import httpx
from anyio.from_thread import BlockingPortal, start_blocking_portal

from cloudrun.identity import INVOKER, LIFETIME
from cloudrun.intake import Trouble
from cloudrun.sampling import new_span_id, new_trace_id
from cloudrun.system import System
from cloudrun.trace_headers import Caller, caller_of

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Coroutine, Mapping
    from pathlib import Path
    from types import TracebackType

    from cloudrun.instance import Exit, Instance
    from cloudrun.request_log import RequestLog
    from cloudrun.store import Trace

_Result = TypeVar("_Result")

REQUEST_LIMIT = 30.0
"""Seconds that one request may take."""


@dataclass(frozen=True)
class Reply:
    """A response, and the trace it belongs to."""

    trace_id: str
    """Empty where the request named no trace in a form that can be read: the platform made one up."""
    status: int
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> Any:
        """Return the body as JSON."""
        return httpx.Response(self.status, content=self.content).json()


class CloudRun:
    """Runs the project in `project`; use it in a `with`.

    `environment` is set in every container on top of the contract, as no deployment would: for tests only. `slow` gives
    services one more callee, which answers after so many seconds: `system.slow[SERVICE]`, an `Upstream`.
    Raises `TopologyError` for a wrong topology.yaml, `CloudRunError` for a service in `slow` that is not there,
    `NotSimulated` and `StartFailed` on entering.
    """

    def __init__(
        self,
        project: Path,
        *,
        environment: Mapping[str, str] | None = None,
        slow: Mapping[str, float] | None = None,
    ) -> None:
        self.system = System(project, environment=environment, slow=slow)
        self._stack = ExitStack()
        self._portal: BlockingPortal | None = None

    def __enter__(self) -> Self:
        self._portal = self._stack.enter_context(start_blocking_portal())
        trusted = ssl.create_default_context(cafile=str(self.system.authority.bundle))
        client = httpx.Client(trust_env=False, timeout=REQUEST_LIMIT, verify=trusted)
        self._client = self._stack.enter_context(client)
        try:
            self._loop.call(self.system.start)
        except BaseException:
            self._stack.close()
            raise
        self._stack.callback(self._loop.call, self.system.stop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    # -- requests

    def get(
        self,
        path: str,
        *,
        service: str = "api",
        headers: Mapping[str, str] | None = None,
        caller: str | None = INVOKER,
    ) -> Reply:
        """Send a GET; see `request`."""
        return self.request("GET", path, service=service, headers=headers, caller=caller)

    def request(
        self,
        method: str,
        path: str,
        *,
        service: str = "api",
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        caller: str | None = INVOKER,
    ) -> Reply:
        """Send a request through the service's front end and return the whole response.

        Unless `headers` names a trace, it gets a trace id that the sampling rule keeps (if the ratio is above 0).
        `caller` is a service, which calls from the VPC network, or the email address of an account, which calls from
        outside; a private service gets an ID token of theirs, unless `headers` has one. None: from outside, without.
        """
        sent = {name.lower(): value for name, value in (headers or {}).items()}
        traced = caller_of([(name.encode(), value.encode("latin-1", "replace")) for name, value in sent.items()])
        if traced is None and not {"traceparent", "x-cloud-trace-context"} & set(sent):
            traced = Caller(new_trace_id(self.system.topology.sampling.ratio))
            sent["traceparent"] = f"00-{traced.trace_id}-{new_span_id()}-00"
        url, credentials = self.system.reach(service, caller)
        sent = {**credentials, **sent}
        response = self._client.request(method, url + path, headers=sent, content=content)
        trace_id = "" if traced is None else traced.trace_id
        return Reply(trace_id, response.status_code, response.headers, response.content)

    def url(self, service: str = "api", *, inside: bool = False) -> str:
        """Return the address of a service's front end, from outside or `inside` the VPC network, for other clients.

        Inside, it has a certificate of `system.authority`.
        """
        return self.system.url(service, inside=inside)

    def id_token(self, account: str, audience: str, *, lifetime: float = LIFETIME, **claims: Any) -> str:
        """Return an ID token of `account`, a service or an email address, that lasts `lifetime` seconds.

        `audience` is a service, for its address inside, or a URL. `claims` take the place of Google's; None: left out.
        """
        url = audience if "/" in audience else self.url(audience, inside=True)
        return self.system.id_tokens.sign(self.system.account(account), url, lifetime=lifetime, **claims)

    def requests(self, service: str = "api") -> list[RequestLog]:
        """Return the service's request log: also requests that the platform refused, which no instance saw."""
        return [entry for entry in self.system.requests if entry.service == service]

    def force_flag(self, *, sampled: bool | None, service: str = "api") -> None:
        """Make the platform sample every request (True), none (False), or as it does by itself (None)."""
        self.system.front_ends[service].sampler.flag = sampled

    # -- spans

    def wait_for_trace(
        self, trace_id: str, complete: int | Callable[[Trace], bool] = 1, *, seconds: float = 10
    ) -> Trace:
        """Return the trace when it has so many spans of services, or when `complete` says so. Raises `Timeout`."""
        done = complete if callable(complete) else lambda trace: len(trace.own()) >= complete
        return self._loop.call(self.system.store.wait_for, trace_id, done, seconds)

    def trace(self, trace_id: str) -> Trace:
        """Return what has arrived of a trace, now."""
        return self._loop.call(self.system.store.trace, trace_id)

    def trace_ids(self) -> set[str]:
        """Return the ids of all traces that have arrived, now."""
        return self._loop.call(self.system.store.trace_ids)

    def span_ids(self) -> Counter[str]:
        """Return how often each span has arrived, now."""
        return self._loop.call(self.system.store.span_ids)

    # -- the instances

    def instance(self, service: str = "api") -> Instance:
        """Return the service's oldest instance: `freezes`, `frozen`, `active`, `environment`."""
        return self.system.instance(service)

    def instances(self, service: str = "api") -> list[Instance]:
        """Return the service's instances; one that has ended stays until the next starts."""
        self.system.instance(service)
        return list(self.system.instances[service].all)

    def terminate(self, service: str = "api", *, instance: Instance | None = None) -> Exit:
        """Shut all instances down, or the given one: SIGTERM, SIGKILL after 10 s. Returns the worst of the ends."""
        ends = self._each(service, instance, lambda one: one.terminate())
        return max(ends, key=lambda end: (end.code != 0, end.seconds))

    def kill(self, service: str = "api", *, instance: Instance | None = None) -> None:
        """End all instances, or the given one, without any warning."""
        self._each(service, instance, lambda one: one.kill())

    def start_instance(self, service: str = "api") -> None:
        """Start another instance, such as after `terminate` or `kill`."""
        self._loop.call(self.system.start_instance, service)

    def kill_collector(self, service: str = "api") -> None:
        """End the instances' collectors alone, without any warning."""
        self._each(service, None, lambda one: one.collector.kill())

    def start_collector(self, service: str = "api", *, environment: Mapping[str, str] | None = None) -> None:
        """Start new collectors after `kill_collector`, with `environment` on top of their variables."""
        self._each(service, None, lambda one: one.start_collector(environment or {}))

    def _each(
        self, service: str, given: Instance | None, act: Callable[[Instance], Coroutine[Any, Any, _Result]]
    ) -> list[_Result]:
        """Act on the given instance, or on all, at once."""
        every = self.instances(service)
        chosen = [given] if given else [one for one in every if one.is_running] or every

        async def at_once() -> list[_Result]:
            return await asyncio.gather(*(act(one) for one in chosen))

        return self._loop.call(at_once)

    def logs(self, service: str = "api") -> list[str]:
        """Return what a service wrote, line by line; its collector is the service `NAME/collector`."""
        return [line.text for line in self._loop.call(self.system.all_logs) if line.service == service]

    # -- what stands around

    def back_end(
        self,
        *,
        delay: float = 0.0,
        status: int | None = None,
        retry_after: int | None = None,
        raw: bytes | None = None,
    ) -> None:
        """Make the back end slow (seconds) or failing; without arguments it is well again. See `Trouble`."""
        self.system.telemetry_api.intake.trouble = Trouble(delay, status, retry_after, raw)

    def stop_back_end(self) -> None:
        """Take the Telemetry API away: connections are refused."""
        self._loop.call(self.system.telemetry_api.stop)

    def resume_back_end(self) -> None:
        """Bring the Telemetry API back, at the same address."""
        self._loop.call(self.system.telemetry_api.start)

    def metadata_server(self, *, delay: float = 0.0, status: int | None = None, lifetime: float | None = None) -> None:
        """Make the metadata server slow (seconds) or failing (an HTTP status) where it gives tokens of either kind.

        `lifetime` is that of tokens from now on, in seconds; None: Google's.
        """
        self.system.metadata.delay = delay
        self.system.metadata.status = status
        self.system.metadata.lifetime = lifetime

    def stop_metadata_server(self) -> None:
        """Take the metadata server away: connections are refused."""
        self._loop.call(self.system.metadata.stop)

    def resume_metadata_server(self) -> None:
        """Bring the metadata server back, at the same address."""
        self._loop.call(self.system.metadata.start)

    def revoke_tokens(self) -> None:
        """Make every access token that was given invalid."""
        self._loop.call(self.system.metadata.revoke)

    def upstream(self, *, delay: float = 0.0, status: int = 200) -> None:
        """Make the service at UPSTREAM_URL slow (seconds) or failing (an HTTP status)."""
        self.system.upstream.delay = delay
        self.system.upstream.status = status

    @property
    def _loop(self) -> BlockingPortal:
        if self._portal is None:
            raise RuntimeError("use CloudRun in a with statement")
        return self._portal
