"""Nobody but its callers gets an answer of a private service; they need nothing but the library."""

from __future__ import annotations

import ssl
import time
from typing import TYPE_CHECKING

import httpx
import pytest
from cloudrun import CloudRun

from tests.chain import WHOLE, freezes, frozen, labels
from tests.project import CHAIN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from cloudrun.client import Reply

    from tests.conftest import ChainVariant

REQUESTS = 30
PATIENCE = 1.0
INTERNAL = [("api", "pricing"), ("pricing", "inventory")]
"""Caller and callee."""


@pytest.fixture(scope="module")
def run(rendered_chain: Path) -> Iterator[CloudRun]:
    with CloudRun(rendered_chain, environment={"OTEL_TRACES_SAMPLER_ARG": "1"}) as run:
        yield run


def without_token(run: CloudRun, service: str) -> int:
    """Call from inside the network as somebody who knows nothing of tokens; return the status."""
    trusted = ssl.create_default_context(cafile=str(run.system.authority.bundle))
    url = f"{run.url(service, inside=True)}/items/1"
    return httpx.get(url, verify=trusted, trust_env=False).status_code


@pytest.mark.parametrize(("caller", "callee"), INTERNAL)
def test_who_may_not_call_is_refused_and_wakes_nobody(run: CloudRun, caller: str, callee: str) -> None:
    assert run.get("/items/1").status == 200
    before, spans = freezes(run), run.span_ids()
    good = {"authorization": f"Bearer {run.id_token(caller, callee)}"}
    wrong = {"authorization": f"Bearer {run.id_token(caller, 'https://pricing.example')}"}
    assert without_token(run, callee) == 401
    for status, who, headers in (
        (401, caller, wrong),
        (403, "inventory", {}),
        (403, callee, {}),
        (404, None, {}),
        (404, None, good),
    ):
        reply = run.get("/items/1", service=callee, caller=who, headers=headers)
        assert reply.status == status, reply.content
        assert run.trace(reply.trace_id).spans == []
    assert frozen(run)
    assert freezes(run) == before, "an instance had CPU"
    assert run.span_ids() == spans, "a service made a span"
    assert run.get("/items/1", service=callee, caller=caller, headers=good).status == 200, "nobody gets through"


def test_tokens_are_fetched_once_for_many_requests(run: CloudRun) -> None:
    for _ in range(REQUESTS):
        reply = run.get("/items/1")
        assert reply.status == 200
    assert labels(run.trace(reply.trace_id)) == WHOLE
    fetched = [(caller, run.url(callee, inside=True)) for caller, callee in INTERNAL]
    assert sorted(run.system.metadata.id_token_requests) == fetched


def new_instance(run: CloudRun, service: str) -> None:
    """Give `service` an instance that has no token yet."""
    run.kill(service)
    run.start_instance(service)


def failed(run: CloudRun, status: int, reason: str) -> Reply:
    began = time.monotonic()
    reply = run.get("/items/1")
    took = time.monotonic() - began
    assert (reply.status, reply.content.count(b"\n")) == (status, 0), reply.content
    assert reason in reply.json()["detail"]
    assert took < PATIENCE + 0.3, f"the answer took {took:.2f} s"
    assert frozen(run)
    return reply


@pytest.mark.slow
def test_without_the_metadata_server_the_error_is_clear_and_goes_with_it(
    start: Callable[..., CloudRun], chain_variant: ChainVariant
) -> None:
    run = start(chain_variant(timeout=PATIENCE), OTEL_TRACES_SAMPLER_ARG="0")
    assert run.get("/items/1").status == 200
    run.stop_metadata_server()
    assert run.get("/items/1").status == 200, "a token that is good needs no metadata server"
    new_instance(run, "api")
    reply = failed(run, 502, "no ID token for https://127.0.0.1")
    assert "the metadata server" in reply.json()["detail"]
    assert [span.status for span in run.trace(reply.trace_id).own()] == ["ERROR", "ERROR"]
    run.resume_metadata_server()
    assert run.get("/items/1").status == 200
    run.metadata_server(delay=60)
    new_instance(run, "api")
    failed(run, 504, "no ID token for https://127.0.0.1")
    run.metadata_server()
    assert_recovers(run)


@pytest.mark.parametrize(
    ("trouble", "status"), [({"status": 404}, 502), pytest.param({"delay": 60}, 504, marks=pytest.mark.slow)]
)
def test_a_callee_that_gets_no_token_answers_its_caller_in_time(
    start: Callable[..., CloudRun], chain_variant: ChainVariant, trouble: Mapping[str, int], status: int
) -> None:
    run = start(chain_variant(timeout=PATIENCE), OTEL_TRACES_SAMPLER_ARG="0")
    assert run.get("/items/1").status == 200
    run.metadata_server(**trouble)
    new_instance(run, "pricing")
    reply = failed(run, status, run.url("pricing", inside=True).partition("//")[2])
    path = [(span.service, span.status) for span in run.trace(reply.trace_id).own()]
    assert path == [("api", "ERROR")] * 2 + [("pricing", "ERROR")] * 2
    run.metadata_server()
    assert_recovers(run)


def assert_recovers(run: CloudRun) -> None:
    """Fail unless requests are answered again soon: a fetch that hangs is given up after 3 s."""
    end = time.monotonic() + 5
    while (reply := run.get("/items/1")).status != 200:
        assert reply.status in {502, 504}, reply.content
        assert time.monotonic() < end, "it did not recover"
    assert [run.instance(service).frozen for service in CHAIN] == [True] * 3
