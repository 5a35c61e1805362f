from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from fetches import fetch_blocking, handled
from hypothesis import given
from hypothesis import strategies as st
from servers import Answer, Callee, MetadataServer, jwt

from tracerun.httpx import AsyncTracedTransport, IdTokenError, IdTokenTimeout
from tracerun.id_tokens import RENEWALS_A_SECOND, token_source
from tracerun.private_callees import PrivateCallees
from tracerun.settings import Settings, private_callees
from tracerun.telemetry import build

if TYPE_CHECKING:
    from fetches import Fetch
    from recorder import Recorder

    from tracerun import Telemetry


def poll(what: str, done: Any) -> None:
    end = time.monotonic() + 10
    while not done():
        assert time.monotonic() < end, f"waited 10 s for {what}"


def test_a_private_callee_gets_a_token_for_its_url(fetch: Fetch, metadata: MetadataServer, private: Callee) -> None:
    assert fetch(f"{private.url}/items/1").status_code == 200
    assert metadata.audiences == [private.url]
    assert [call.token for call in private.received] == metadata.tokens


def test_nobody_else_gets_a_token(fetch: Fetch, metadata: MetadataServer, private: Callee) -> None:
    with Callee() as public:
        fetch(public.url)
        fetch(private.url)
        assert [call.headers["Authorization"] for call in public.received] == [None]
    assert metadata.audiences == [private.url]


def test_a_token_is_kept_and_every_callee_has_its_own(
    fetch: Fetch, metadata: MetadataServer, callee: Callee, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Callee() as other:
        monkeypatch.setenv("TRACERUN_PRIVATE_CALLEES", f"{callee.url}, {other.url}")
        for _ in range(3):
            fetch(callee.url)
            fetch(other.url)
        assert metadata.audiences == [callee.url, other.url]
        assert {call.token for call in callee.received} == {metadata.tokens[0]}
        assert {call.token for call in other.received} == {metadata.tokens[1]}


def test_fifty_requests_at_once_fetch_one_token_and_do_not_block_the_loop(
    metadata: MetadataServer, private: Callee
) -> None:
    async def test() -> None:
        async with httpx.AsyncClient(transport=AsyncTracedTransport(), timeout=10) as client:
            metadata.hold()
            waiting = [asyncio.create_task(client.get(private.url)) for _ in range(50)]
            await asyncio.to_thread(metadata.asked.acquire)
            with Callee() as public:
                assert (await client.get(public.url)).status_code == 200
            assert not any(task.done() for task in waiting), "nobody waits for the token: nothing is proved"
            metadata.release()
            assert {response.status_code for response in await asyncio.gather(*waiting)} == {200}

    asyncio.run(test())
    assert len(metadata.audiences) == 1
    assert len(private.received) == 50


def test_threads_share_one_fetch(metadata: MetadataServer, private: Callee) -> None:
    metadata.hold()
    with ThreadPoolExecutor(10) as pool:
        answers = [pool.submit(fetch_blocking, private.url) for _ in range(10)]
        metadata.asked.acquire()
        metadata.release()
        assert {answer.result().status_code for answer in answers} == {200}
    assert len(metadata.audiences) == 1


def test_who_gives_up_does_not_take_the_fetch_from_the_others(metadata: MetadataServer, private: Callee) -> None:
    async def test() -> None:
        async with httpx.AsyncClient(transport=AsyncTracedTransport()) as client:
            metadata.hold()
            impatient, patient = (asyncio.create_task(client.get(private.url, timeout=10)) for _ in range(2))
            await asyncio.to_thread(metadata.asked.acquire)
            impatient.cancel()
            await asyncio.wait([impatient])
            metadata.release()
            assert (await patient).status_code == 200

    asyncio.run(test())
    assert len(metadata.audiences) == 1


def test_a_token_is_renewed_before_it_expires_while_requests_go_on(
    fetch: Fetch, metadata: MetadataServer, private: Callee, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tracerun.id_tokens.RENEW_SHARE", 0.5)
    metadata.lifetime = 4.0
    fetch(private.url)
    metadata.asked.acquire()
    metadata.hold()  # the renewal takes for ever
    poll("a renewal", lambda: fetch(private.url).status_code == 200 and metadata.asked.acquire(blocking=False))
    fetch(private.url)
    assert {call.token for call in private.received} == {metadata.tokens[0]}
    metadata.release()
    poll("the new token", lambda: fetch(private.url) and private.received[-1].token == metadata.tokens[1])


def test_an_expired_token_is_never_sent(fetch: Fetch, metadata: MetadataServer, private: Callee) -> None:
    metadata.lifetime = 0.2
    fetch(private.url)
    expiry = time.time() + metadata.lifetime
    poll("the token to expire", lambda: time.time() > expiry)
    fetch(private.url)
    assert [call.token for call in private.received] == metadata.tokens
    assert len(set(metadata.tokens)) == 2


def test_a_renewal_that_fails_is_a_warning_as_long_as_the_token_is_good(
    fetch: Fetch,
    metadata: MetadataServer,
    private: Callee,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("tracerun.id_tokens.RENEW_SHARE", 0.5)
    metadata.lifetime = 4.0
    logging.getLogger("tracerun.id_tokens").filters.clear()  # one a minute, over all tests
    fetch(private.url)
    metadata.statuses.extend([403] * 1000)
    poll("a failed renewal", lambda: fetch(private.url).status_code == 200 and "was not renewed" in caplog.text)
    assert private.url in caplog.text
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        token_source(private.url).valid()  # as every request asks
    assert len(metadata.audiences) <= 12, "a metadata server in trouble is asked by every request"


def test_a_refused_token_is_replaced_once(
    fetch: Fetch, metadata: MetadataServer, private: Callee, telemetry: Telemetry, recorder: Recorder
) -> None:
    private.answers.append(Answer(401))
    assert fetch(private.url, "POST", content=b"body").status_code == 200
    assert [call.token for call in private.received] == metadata.tokens
    assert len(metadata.tokens) == 2
    assert telemetry.flush is not None
    telemetry.flush.force_flush()
    spans = [(span.attributes or {}).get("http.request.resend_count") for span in recorder.spans]
    assert spans == [None, 1]


def test_a_callee_that_always_refuses_is_believed(fetch: Fetch, metadata: MetadataServer, private: Callee) -> None:
    calls = 30
    private.answers.extend([Answer(401)] * 2 * calls)
    began = time.monotonic()
    for _ in range(calls):
        assert fetch(private.url).status_code == 401
    renewals = len(metadata.audiences) - 1
    most = 2 + (time.monotonic() - began) * RENEWALS_A_SECOND
    assert 1 <= renewals <= most, f"a callee's own 401 costs a token each time: {renewals} in {calls} calls"
    assert most < calls, "too slow: nothing is proven"
    assert len(private.received) <= calls + most


def test_a_streamed_body_is_not_sent_again_but_its_token_is_dropped(
    fetch: Fetch, metadata: MetadataServer, private: Callee
) -> None:
    private.answers.append(Answer(401))
    assert fetch(private.url, "POST", content=[b"a", b"b"]).status_code == 401
    assert fetch(private.url, "POST", content=[b"a", b"b"]).status_code == 200
    assert [call.token for call in private.received] == metadata.tokens


def test_authorization_stays_the_apps(fetch: Fetch, metadata: MetadataServer, private: Callee) -> None:
    fetch(private.url, headers={"Authorization": "Basic abc"})
    (call,) = private.received
    assert call.headers["Authorization"] == "Basic abc"
    assert call.headers["X-Serverless-Authorization"] == f"Bearer {metadata.tokens[0]}"


def test_a_token_that_the_app_brings_is_left_alone(fetch: Fetch, metadata: MetadataServer, private: Callee) -> None:
    fetch(private.url, headers={"X-Serverless-Authorization": "Bearer own"})
    (call,) = private.received
    assert call.headers["X-Serverless-Authorization"] == "Bearer own"
    assert call.headers["Authorization"] is None
    assert metadata.audiences == []


@pytest.mark.parametrize("own", [{}, {"Authorization": "Basic abc"}], ids=["token", "beside-the-apps-own"])
def test_a_redirect_takes_no_token_elsewhere(
    fetch: Fetch, metadata: MetadataServer, private: Callee, own: dict[str, str]
) -> None:
    with Callee() as elsewhere:
        private.answers.append(Answer(307, {"Location": f"{elsewhere.url}/stolen"}))
        response = fetch(private.url, headers=own)
        (call,) = elsewhere.received
    assert metadata.tokens
    assert not [value for value in call.headers.values() if metadata.tokens[0] in value]
    for asked in (*response.history, response):
        assert not [value for value in asked.request.headers.values() if metadata.tokens[0] in value]


def test_no_token_travels_in_plain_text(
    fetch: Fetch, metadata: MetadataServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACERUN_PRIVATE_CALLEES", "http://stock.internal")
    with pytest.raises(IdTokenError, match=r"http://stock\.internal: it would travel in plain text; use https"):
        fetch("http://stock.internal/items/1")
    assert metadata.audiences == []


def test_a_slow_metadata_server_costs_the_requests_own_time_out(
    fetch: Fetch, metadata: MetadataServer, private: Callee
) -> None:
    metadata.hold()
    began = time.monotonic()
    with pytest.raises(IdTokenTimeout, match=f"no ID token for {private.url}: the metadata server did not answer"):
        fetch(private.url, timeout=0.3)
    assert 0.3 <= time.monotonic() - began < 2
    assert issubclass(IdTokenTimeout, httpx.TimeoutException)
    assert private.received == []


def test_a_slow_metadata_server_costs_no_more_than_the_caller_leaves(
    fetch: Fetch, metadata: MetadataServer, private: Callee
) -> None:
    metadata.hold()
    began = time.monotonic()
    with pytest.raises(IdTokenTimeout):
        fetch(private.url, timeout=30, handling=handled({"x-request-timeout-ms": "1500"}))
    assert time.monotonic() - began < 8


def test_a_dead_metadata_server_is_an_error_that_says_so(
    fetch: Fetch, metadata: MetadataServer, private: Callee, telemetry: Telemetry, recorder: Recorder
) -> None:
    metadata.stop()
    with pytest.raises(
        IdTokenError,
        match=rf"{private.url}: the metadata server \({metadata.host}\) cannot be reached \(Connection refu",
    ) as caught:
        fetch(private.url)
    assert "GCE_METADATA_HOST" in str(caught.value)
    assert isinstance(caught.value, httpx.TransportError)
    assert private.received == []
    assert telemetry.flush is not None
    telemetry.flush.force_flush()
    (span,) = recorder.spans
    assert (span.attributes or {})["error.type"] == "tracerun.private_callees.IdTokenError"


@pytest.mark.parametrize("status", [404, 403, 500, 503, 301])
def test_a_refusing_metadata_server_is_an_error_with_its_answer(
    fetch: Fetch, metadata: MetadataServer, private: Callee, status: int
) -> None:
    metadata.statuses.extend([status] * 3)
    with pytest.raises(IdTokenError, match=rf"answered {403 if status == 301 else status}"):
        fetch(private.url)
    assert private.received == []


def test_a_fetch_that_never_ends_is_given_up_for_another(
    fetch: Fetch, metadata: MetadataServer, private: Callee, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tracerun.id_tokens.FETCH_LIMIT", 0.2)
    metadata.hold()
    for _ in range(2):
        with pytest.raises(IdTokenTimeout):
            fetch(private.url, timeout=0.3)
    assert metadata.audiences == [private.url] * 2


def test_a_moments_trouble_of_the_metadata_server_is_nobodys(
    fetch: Fetch, metadata: MetadataServer, private: Callee
) -> None:
    metadata.statuses.extend([503, 500])
    assert fetch(private.url).status_code == 200


FAR = time.time() + 3600
GARBAGE = {
    "empty": b"",
    "a page": b"<html>sign in</html>",
    "dots": b"a.b.c",
    "binary": bytes(range(256)),
    "no expiry": jwt("a", None).encode(),
    "expiry in words": jwt("a", "soon").encode(),
    "expiry beyond time": jwt("a", 1e300).encode(),
    "no number": jwt("a", float("nan")).encode(),
    "a second line": jwt("a", FAR).encode() + b"\r\nX-Injected: yes",
    "a line's end": jwt("a", FAR).encode() + b"\n",
    "letters of elsewhere": jwt("a", FAR).encode() + "é".encode(),
    "a list": b"[1]",
    "expired": jwt("a", 1).encode(),
    "two": (jwt("a", FAR) + "." + jwt("a", FAR)).encode(),
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_is_an_error_that_does_not_repeat_it(
    garbage: bytes, metadata: MetadataServer, private: Callee, telemetry: Telemetry, recorder: Recorder
) -> None:
    metadata.garbage = garbage
    with pytest.raises(IdTokenError, match=r"is no ID token|has expired") as caught:
        fetch_blocking(private.url)
    assert private.received == []
    assert telemetry.flush is not None
    telemetry.flush.force_flush()
    said = str(caught.value) + "".join(span.to_json() for span in recorder.spans)
    for part in garbage.decode("latin-1").split("."):
        assert len(part) < 8 or part not in said


def test_no_token_is_in_spans_or_logs(  # noqa: PLR0913, PLR0917 (fixtures)
    fetch: Fetch,
    metadata: MetadataServer,
    private: Callee,
    telemetry: Telemetry,
    recorder: Recorder,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    private.answers.extend([Answer(401), Answer(500)])
    fetch(private.url)
    fetch(private.url, headers={"Authorization": "Basic abc"})
    private.answers.append(Answer(delay=5))
    with pytest.raises(httpx.ReadTimeout):
        fetch(private.url, timeout=0.2)
    assert telemetry.flush is not None
    telemetry.flush.force_flush()
    said = caplog.text + "".join(span.to_json() for span in recorder.spans)
    assert "GET" in caplog.text
    assert len(recorder.spans) == 4
    assert len(metadata.tokens) == 2
    for token in metadata.tokens:
        for part in token.split(".")[1:]:
            assert part not in said


def test_the_wait_for_a_token_is_in_the_span_of_the_call(
    fetch: Fetch, metadata: MetadataServer, private: Callee, telemetry: Telemetry, recorder: Recorder
) -> None:
    asked: list[int] = []

    def release() -> None:
        assert metadata.asked.acquire(timeout=10)
        asked.append(time.time_ns())
        metadata.release()

    metadata.hold()
    threading.Thread(target=release, daemon=True).start()
    fetch(private.url)
    assert telemetry.flush is not None
    telemetry.flush.force_flush()
    (span,) = recorder.spans
    assert span.end_time is not None
    assert span.start_time is not None
    assert span.start_time < asked[0] < span.end_time


def test_the_tokens_are_fetched_once_the_server_listens(metadata: MetadataServer) -> None:
    build(Settings(disabled=True, private_callees=("https://a.run.app", "https://b.run.app"))).listening()
    assert metadata.asked.acquire(timeout=10)
    assert metadata.asked.acquire(timeout=10)
    assert sorted(metadata.audiences) == ["https://a.run.app", "https://b.run.app"]


PROGRAM = """
import json, sys
from tracerun import setup
setup()
import httpx
from tracerun.httpx import TracedTransport
client = httpx.Client(transport=TracedTransport())
loaded = [name for name in ("google.auth", "requests", "tracerun.id_tokens") if name in sys.modules]
status = client.get(sys.argv[1]).status_code
print(json.dumps({"loaded": loaded, "status": status}))
"""


def run_program(url: str, **environ: str) -> Any:
    done = subprocess.run(  # noqa: S603 (our own program)
        [sys.executable, "-c", PROGRAM, url],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return json.loads(done.stdout)


def test_nothing_is_loaded_where_there_is_no_private_callee(callee: Callee) -> None:
    assert run_program(callee.url) == {"loaded": [], "status": 200}
    assert callee.received[0].token is None


def test_tokens_come_from_gce_metadata_host(metadata: MetadataServer, callee: Callee) -> None:
    environ = {"TRACERUN_PRIVATE_CALLEES": callee.url, "GCE_METADATA_HOST": metadata.host}
    proxies = {"HTTP_PROXY": "http://127.0.0.1:1", "http_proxy": "http://127.0.0.1:1", "NO_PROXY": "", "no_proxy": ""}
    assert run_program(callee.url, **environ, **proxies) == {"loaded": ["tracerun.id_tokens"], "status": 200}
    assert callee.received[0].token == metadata.tokens[0]


hosts = st.sampled_from(["stock.run.app", "STOCK.run.app", "stock.run.app.", "stock.run.app.evil.com", "127.0.0.1"])
ports = st.sampled_from(["", ":443", ":80", ":8443"])
urls = st.builds(
    "{}://{}{}{}{}".format,
    st.sampled_from(["http", "https", "HTTPS"]),
    st.sampled_from(["", "u:p@"]),
    hosts,
    ports,
    st.sampled_from(["", "/", "/items/1?a=b", "/@stock.run.app"]),
)


@given(urls, urls)
def test_only_the_same_scheme_host_and_port_get_the_token(callee: str, asked: str) -> None:
    def parts(text: str) -> tuple[str, str, int | None]:
        url = httpx.URL(text)
        return url.scheme, url.host, url.port or {"http": 80, "https": 443}[url.scheme]

    try:
        source = PrivateCallees([callee]).source_for(httpx.Request("GET", asked))
    except IdTokenError:
        assert parts(asked) == parts(callee)
        assert parts(asked)[0] == "http"
    else:
        assert (source is not None) == (parts(asked) == parts(callee))
        assert source is None or source.audience == callee


@given(st.text(max_size=50) | st.lists(st.text(max_size=20)).map(",".join) | urls.map(lambda url: url + ",,\x00"))
def test_no_value_of_the_variable_stops_a_service(text: str) -> None:
    callees = PrivateCallees(private_callees({"TRACERUN_PRIVATE_CALLEES": text}))
    assert callees.source_for(httpx.Request("GET", "https://unrelated.example")) is None


def test_a_malformed_callee_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    PrivateCallees(["stock.run.app"])
    assert "TRACERUN_PRIVATE_CALLEES must be URLs, got 'stock.run.app'" in caplog.text
