"""`exporter: direct`: the service itself exports, signed, over either protocol of OTLP, and loses nothing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from cloudrun.protocols import GRPC, HTTP, PROTOCOL

from tests.test_handlers import until
from tests.test_loss import SLOW, lost
from tests.test_outage import BOUND, DEADLINE, REQUESTS, billings
from tests.traffic import BURST, PATIENT, SINGLE_REQUESTS, burst, waits

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cloudrun import CloudRun

    from tests.conftest import Variant
    from tests.journal import Journal

ABOUT_TO_EXPIRE = 200
"""Seconds of a token's life at which google-auth renews it."""

protocols = pytest.mark.parametrize("protocol", [HTTP, GRPC], ids=["http", "grpc"])
OTLP_HEADERS = "otlp-headers"


def asking_for(protocol: str) -> dict[str, str]:
    return {} if protocol == HTTP else {PROTOCOL: protocol}


@pytest.fixture
def direct(variant: Variant, protocol: str) -> Path:
    return variant(exporter="direct", env=asking_for(protocol))


def warm_up(run: CloudRun, journal: Journal) -> None:
    """Get gRPC, the credentials and the first token in place: on a slow machine no response waits for all of that."""
    for _ in range(5):
        run.get("/plain")
        if not lost(run, journal):
            return
    pytest.fail("spans of the first responses never arrived")


def check_signed(run: CloudRun) -> None:
    api = run.system.telemetry_api
    assert api.signed_exports, "nothing was exported: nothing is proven"
    assert api.intake.exports == api.signed_exports, "spans went past the listener that asks for a token"


@protocols
def test_nothing_is_lost_when_the_cpu_goes_after_each_response(
    start: Callable[..., CloudRun], direct: Path, journal: Journal
) -> None:
    run = start(direct)
    warm_up(run, journal)
    before = run.instance().freezes
    for sent in range(1, SINGLE_REQUESTS + 1):
        run.get("/plain")
        missing = lost(run, journal)
        assert not missing, f"request {sent}: {len(missing)} spans lost"
    assert run.instance().freezes - before == SINGLE_REQUESTS
    run.kill()
    assert run.span_ids() == journal.started()
    assert sum(run.span_ids().values()) > 2 * SINGLE_REQUESTS
    check_signed(run)


@pytest.mark.slow
@protocols
@pytest.mark.parametrize("slow", [0, SLOW], ids=["fast back end", "slow back end"])
def test_nothing_is_lost_when_the_cpu_goes_after_a_burst(
    start: Callable[..., CloudRun], direct: Path, journal: Journal, slow: float
) -> None:
    run = start(direct, **PATIENT)
    warm_up(run, journal)
    before = sum(run.span_ids().values())
    run.back_end(delay=slow)
    burst(run)
    assert not lost(run, journal)
    run.kill()
    assert sum(run.span_ids().values()) - before == 2 * BURST


@pytest.mark.slow
@protocols
@billings
def test_sigterm_straight_after_a_response_loses_nothing(
    start: Callable[..., CloudRun], variant: Variant, journal: Journal, protocol: str, billing: str
) -> None:
    run = start(variant(exporter="direct", billing=billing, env=asking_for(protocol)))
    run.get("/plain")
    ended = run.terminate()
    assert ended.code == 0, run.logs()
    assert run.span_ids() == journal.started()
    assert sum(run.span_ids().values()) == 2
    check_signed(run)


@pytest.mark.slow
@protocols
def test_under_instance_billing_spans_leave_in_the_background(
    start: Callable[..., CloudRun], variant: Variant, journal: Journal, protocol: str
) -> None:
    run = start(variant(exporter="direct", billing="instance", env=asking_for(protocol)))
    run.back_end(delay=0.4)
    began = time.monotonic()
    for _ in range(SINGLE_REQUESTS):
        run.get("/plain")
    assert time.monotonic() - began < SINGLE_REQUESTS * 0.2, "responses waited for the back end"
    assert run.instance().freezes == 0
    until(lambda: run.span_ids() == journal.started(), "the delivery of all spans")


@pytest.mark.slow
@protocols
def test_the_project_stands_on_the_services_own_resource(start: Callable[..., CloudRun], direct: Path) -> None:
    run = start(direct)
    trace = run.wait_for_trace(run.get("/plain").trace_id, 2)
    assert {span.resource["gcp.project_id"] for span in trace.own()} == {"offline-project"}


@protocols
def test_a_token_that_is_refused_is_replaced_and_nothing_is_lost(
    start: Callable[..., CloudRun], direct: Path, journal: Journal
) -> None:
    run = start(direct)
    run.get("/plain")
    before = len(run.system.metadata.tokens)
    assert before, "no token was asked for: nothing is proven"
    run.revoke_tokens()
    for _ in range(3):
        assert run.get("/plain").status == 200
    run.terminate()
    assert run.system.metadata.tokens, "no other token was asked for"
    assert run.span_ids() == journal.started()
    assert sum(run.span_ids().values()) == 8


def restart_with(run: CloudRun, *, delay: float = 0.0, status: int | None = None) -> None:
    """Start another instance, for which the metadata server is slow (seconds) or fails (an HTTP status)."""
    run.terminate()
    run.revoke_tokens()
    run.metadata_server(delay=delay, status=status)
    run.start_instance()


def check_waits(run: CloudRun) -> None:
    """Send requests; one may wait until the deadline, and three in vain open the breaker."""
    seconds = waits(run, REQUESTS)
    assert max(seconds) < 3 * DEADLINE, f"one response took {max(seconds):.2f} s"
    assert sum(seconds) < BOUND + REQUESTS * 0.05, f"all took {sum(seconds):.2f} s"


@protocols
def test_a_response_waits_for_the_first_token_that_the_one_before_it_has_waited_for_in_vain(
    start: Callable[..., CloudRun], direct: Path, journal: Journal
) -> None:
    run = start(direct)
    restart_with(run, delay=DEADLINE + 0.2)
    run.get("/plain")
    assert lost(run, journal), "the first response found a token: nothing is proven"
    run.get("/plain")
    assert not lost(run, journal)


@pytest.mark.slow
@protocols
@pytest.mark.parametrize("trouble", [{"status": 403}, {"delay": 1.2}], ids=["refuses", "is slow"])
def test_a_metadata_server_that(
    start: Callable[..., CloudRun], direct: Path, journal: Journal, trouble: dict[str, Any]
) -> None:
    run = start(direct)
    restart_with(run, **trouble)
    check_waits(run)
    assert not run.system.metadata.tokens or "delay" in trouble
    run.metadata_server()
    run.get("/slow?seconds=2")
    ended = run.terminate()
    assert ended.code == 0, run.logs()
    assert run.span_ids() == journal.started()
    assert not any("lost" in line for line in run.logs())


@pytest.mark.slow
@protocols
@pytest.mark.parametrize("trouble", [{"status": 503}, {"delay": 60}], ids=["is down", "hangs"])
def test_a_metadata_server_that_never_comes_back_costs_bounded_waits_and_all_spans_are_counted(
    start: Callable[..., CloudRun], direct: Path, trouble: dict[str, Any]
) -> None:
    run = start(direct)
    restart_with(run, **trouble)
    check_waits(run)
    ended = run.terminate()
    assert ended.code == 0, run.logs()
    assert ended.seconds < 6, f"the end took {ended.seconds:.1f} s (promised: 4 s; the bound is generous)"
    assert any("24 spans were lost" in line for line in run.logs()), run.logs()


@pytest.mark.slow
@protocols
def test_no_response_waits_while_a_token_is_renewed(
    start: Callable[..., CloudRun], direct: Path, journal: Journal
) -> None:
    run = start(direct)
    run.terminate()
    run.system.metadata.lifetime = ABOUT_TO_EXPIRE
    run.start_instance()
    run.get("/plain")
    asked = len(run.system.metadata.tokens)
    run.metadata_server(delay=5)
    began = time.monotonic()
    for _ in range(5):
        run.get("/plain")
        assert not lost(run, journal)
    assert time.monotonic() - began < 2, "responses waited for the token"
    run.metadata_server()
    run.get("/slow?seconds=5")
    until(lambda: len(run.system.metadata.tokens) > asked, "another token")


def test_without_tls_no_token_leaves_and_the_cure_is_said(start: Callable[..., CloudRun], variant: Variant) -> None:
    run = start(variant(exporter="direct"), OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    assert run.get("/plain").status == 200
    said = [line for line in run.logs() if "plain text: use https://telemetry.googleapis.com" in line]
    assert len(said) == 1, run.logs()
    assert "Traceback" not in said[0]
    assert not run.system.metadata.tokens


@pytest.mark.parametrize("provider", ["nobody", "a file"])
def test_without_credentials_one_line_says_so(
    start: Callable[..., CloudRun], variant: Variant, tmp_path: Path, provider: str
) -> None:
    broken = {"GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "none.json")} if provider == "a file" else {}
    run = start(
        variant(exporter="direct"), NO_GCE_CHECK="true", HOME=str(tmp_path), CLOUDSDK_CONFIG=str(tmp_path), **broken
    )
    assert run.get("/plain").status == 200
    said = [line for line in run.logs() if "DefaultCredentialsError" in line]
    assert len(said) == 1, run.logs()
    assert "Traceback" not in said[0]


# -- other back ends


def other(variant: Variant, protocol: str, **topology: str) -> Path:
    return variant(exporter="direct", backend="https://otlp.example.com", env=asking_for(protocol), **topology)


@protocols
def test_another_back_end_gets_the_headers_of_the_secret(
    start: Callable[..., CloudRun], variant: Variant, journal: Journal, protocol: str
) -> None:
    run = start(other(variant, protocol, backend_headers_secret=OTLP_HEADERS))
    for _ in range(3):
        run.get("/plain")
        assert not lost(run, journal)
    check_signed(run)
    assert not run.system.metadata.tokens, "a token of Google's was asked for"


@pytest.mark.slow
@protocols
def test_another_back_end_without_the_headers_takes_nothing_and_what_is_lost_is_said(
    start: Callable[..., CloudRun], variant: Variant, protocol: str
) -> None:
    folder = other(variant, protocol, backend_headers_secret=OTLP_HEADERS)
    run = start(folder, OTEL_EXPORTER_OTLP_HEADERS="x-offline-key=wrong")
    assert run.get("/plain").status == 200
    run.terminate()
    assert not run.span_ids()
    assert any("2 spans were lost" in line for line in run.logs()), run.logs()


def test_where_another_back_end_is_read_the_platforms_span_is_no_parent(
    start: Callable[..., CloudRun], variant: Variant
) -> None:
    run = start(other(variant, HTTP))
    run.force_flag(sampled=True)
    trace = run.wait_for_trace(run.get("/plain").trace_id, 2)
    assert [span.kind for span in trace.children(None)] == ["SERVER"]
    assert not any(span.by_platform for span in trace.spans), "Cloud Trace's span is not at another back end"


# -- the back end in trouble


@pytest.mark.slow
@protocols
@pytest.mark.parametrize("status", [429, 503, 404], ids=str)
def test_a_back_end_that_fails_for_a_while_gets_every_span(
    start: Callable[..., CloudRun], direct: Path, journal: Journal, status: int
) -> None:
    run = start(direct)
    run.back_end(status=status)
    check_waits(run)
    assert not run.span_ids()
    run.back_end()
    run.get("/slow?seconds=2")
    run.terminate()
    assert run.span_ids() == journal.started()
    assert not any("lost" in line for line in run.logs())


@protocols
def test_spans_that_the_back_end_will_never_take_are_counted(start: Callable[..., CloudRun], direct: Path) -> None:
    run = start(direct, OTEL_RESOURCE_ATTRIBUTES="service.namespace=orders")
    assert run.get("/plain").status == 200
    run.terminate()
    assert set(run.system.telemetry_api.intake.refused) == {"resource attribute gcp.project_id is missing"}
    assert any("2 spans were lost" in line for line in run.logs()), run.logs()


@pytest.mark.slow
@protocols
def test_a_back_end_that_hangs_or_refuses_connections_costs_bounded_waits(
    start: Callable[..., CloudRun], direct: Path, journal: Journal
) -> None:
    run = start(direct)
    run.get("/plain")
    run.stop_back_end()
    check_waits(run)
    run.resume_back_end()
    run.get("/slow?seconds=2")
    run.terminate()
    assert run.span_ids() == journal.started()
