"""Who may call a service: 401, 403 and 404 of the platform's own, and never a 200 for who may not."""

from __future__ import annotations

import base64
import json
import select
import socket
import ssl
import time
from typing import TYPE_CHECKING, Any

import httpx
import jwt
import pytest
from cloudrun import CloudRun
from cloudrun.identity import INVOKER, account_of
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.raw_http import Connection
from tests.simulator.systems import system
from tests.test_handlers import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

STRANGER = "stranger@offline-project.iam.gserviceaccount.com"
REMOVED = "SIGNATURE_REMOVED_BY_GOOGLE"
PRIVATE_ENTRY = """\
  api:
    framework: python-fastapi
    access: private
"""


@pytest.fixture(scope="module")
def run(chain: Path) -> Iterator[CloudRun]:
    with CloudRun(chain) as run:
        yield run


@pytest.fixture(scope="module")
def entry(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudRun]:
    """A private entry that can be reached from anywhere."""
    with CloudRun(system(project, tmp_path_factory.mktemp("entry") / "orders", PRIVATE_ENTRY, app="callers")) as run:
        yield run


def refused(run: CloudRun, status: int, *, service: str = "pricing", **sent: Any) -> str:
    """Send a request that must be refused with `status`, without waking an instance; return the reason."""
    freezes, logged = run.instance(service).freezes, len(run.requests(service))
    reply = run.get("/headers?secret=1", service=service, **sent)
    assert reply.status == status, (reply.content, sent)
    assert (run.instance(service).frozen, run.instance(service).freezes) == (True, freezes), "it had CPU"
    *_, entry = run.requests(service)
    assert len(run.requests(service)) == logged + 1, "the request log misses it"
    assert (entry.status, entry.path, entry.refusal) == (status, "/headers?secret=1", reply.content.decode().strip())
    *_, line = run.logs(f"{service}/requests")
    assert json.loads(line)["logging.googleapis.com/trace"] == reply.trace_id
    assert "secret" not in line
    return entry.refusal or ""


def test_services_call_private_ones_with_tokens_of_the_metadata_server(run: CloudRun) -> None:
    reply = run.get("/call/pricing/call/inventory/headers")
    assert reply.status == 200, reply.content
    seen = reply.json()["authorization"]
    assert seen.endswith(f".{REMOVED}")
    claims = jwt.decode(seen.removeprefix("Bearer ").rpartition(".")[0] + ".", options={"verify_signature": False})
    assert set(claims) == {"iss", "aud", "azp", "sub", "email", "email_verified", "iat", "exp"}
    assert claims["email"] == "orders-pricing@offline-project.iam.gserviceaccount.com"
    assert claims["aud"] == run.url("inventory", inside=True)
    assert (claims["iss"], claims["exp"] - claims["iat"]) == ("https://accounts.google.com", 3600)
    assert run.system.metadata.id_token_requests[-1] == ("pricing", claims["aud"])
    for service in ("api", "pricing", "inventory"):
        (*_, logged) = run.requests(service)
        assert (logged.span.trace_id, logged.status) == (reply.trace_id, 200)
        assert run.instance(service).frozen


def test_without_a_token_the_answer_is_401(run: CloudRun, entry: CloudRun) -> None:
    trusted = ssl.create_default_context(cafile=str(run.system.authority.bundle))
    bare = httpx.get(run.url("pricing", inside=True), trust_env=False, verify=trusted)
    assert (bare.status_code, bare.headers["www-authenticate"]) == (401, "Bearer")
    assert "no ID token" in refused(entry, 401, service="api", caller=None)


def test_whoever_is_no_invoker_gets_403(run: CloudRun, entry: CloudRun) -> None:
    assert run.get("/headers", service="pricing", caller="api").status == 200
    assert "orders-inventory@" in refused(run, 403, caller="inventory")
    assert "orders-pricing@" in refused(run, 403, caller="pricing"), "an account may not invoke its own service"
    refused(run, 403, service="inventory", caller="api")
    assert entry.get("/headers").status == 200, "an invoker from outside"
    assert STRANGER in refused(entry, 403, service="api", caller=STRANGER)
    refused(entry, 403, service="api", caller="api")


def test_from_outside_an_internal_service_is_not_there_whoever_asks(run: CloudRun) -> None:
    token = run.id_token("api", "pricing")
    for headers in ({}, {"authorization": f"Bearer {token}"}):
        assert "ingress: internal" in refused(run, 404, caller=None, headers=headers)
    refused(run, 404, caller=INVOKER)
    assert run.get("/headers", caller="inventory").status == 200, "a public service can be reached inside too"


def wrong_tokens(run: CloudRun) -> dict[str, str]:
    audience, email = run.url("pricing", inside=True), account_of("orders", "api")
    now = int(time.time())
    good = run.id_token("api", "pricing")
    head, body, signature = good.split(".")
    claims = jwt.decode(good, options={"verify_signature": False})
    other_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return {
        "another audience": run.id_token("api", "inventory"),
        "a path in the audience": run.id_token("api", f"{audience}/headers"),
        "of another scheme": run.id_token("api", audience.replace("https", "http")),
        "no audience": run.id_token("api", "pricing", aud=None),
        "expired": run.id_token("api", "pricing", lifetime=-1),
        "never expires": run.id_token("api", "pricing", exp=None),
        "expires some day": run.id_token("api", "pricing", exp="some day"),
        "of the future": run.id_token("api", "pricing", iat=now + 3600),
        "another issuer": run.id_token("api", "pricing", iss="https://evil.example"),
        "no email": run.id_token("api", "pricing", email=None),
        "a number as email": run.id_token("api", "pricing", email=7),
        "not verified": run.id_token("api", "pricing", email_verified=False),
        "another key": jwt.encode(claims, other_key, "RS256"),
        "no algorithm": f"{part({'alg': 'none', 'typ': 'JWT'})}.{body}.",
        "no algorithm, signed": f"{part({'alg': 'none'})}.{body}.{signature}",
        "the public key as secret": jwt.encode(claims, "k" * 64, "HS256"),
        "another body": f"{head}.{part({**claims, 'email': email, 'exp': now + 9999})}.{signature}",
        "no signature": f"{head}.{body}.",
        "signature removed": f"{head}.{body}.{REMOVED}",
        "an access token": "ya29.c.offline",
        "43 letters": "x" * 43,
        "two parts": f"{head}.{body}",
        "dots": "...",
        "no JSON": "YWJj.YWJj.YWJj",
        "nested": f"{base64.urlsafe_b64encode(b'[' * 40_000).decode()}.{body}.{signature}",
        "a list as head": f"{part([1])}.{body}.{signature}",
        "a number as key": f"{part({'alg': 'RS256', 'kid': 7})}.{body}.{signature}",
        "huge": f"{head}.{'A' * 100_000}.{signature}",
        "with a blank": f"{good} {good}",
        "twice": f"{good},{good}",
        "a NUL": f"{head}.{body}.\\0",
    }


def test_a_wrong_token_is_answered_with_401(run: CloudRun) -> None:
    for what, token in wrong_tokens(run).items():
        for header in ("authorization", "x-serverless-authorization"):
            reason = refused(run, 401, caller="api", headers={header: f"Bearer {token}"})
            assert "\n" not in reason, what
            assert len(reason) < 400, what


def test_garbage_in_authorization_is_answered_with_401(entry: CloudRun) -> None:
    token = entry.id_token(INVOKER, entry.url()).encode()
    values = [
        b"",
        b"Bearer",
        b"Bearer\t" + token,
        b"Bearer:" + token,
        b"Basic " + token,
        token,
        b"Bearer \xff\xfe",
        b"\xc3",
    ]
    values += [b"Bearer " + b"\xff" * 70_000, b"Bearer " + token[:-1] + b"\xe9", b"Bearer " + b"." * 90_000]
    with Connection(int(entry.url().rpartition(":")[2])) as connection:
        for value in values:
            assert connection.get("/headers", [(b"authorization", value)]).status == 401, value[:30]


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_may_be_written_in_any_case(run: CloudRun, scheme: str) -> None:
    headers = {"authorization": f"{scheme} {run.id_token('api', 'pricing')}"}
    assert run.get("/headers", service="pricing", caller="api", headers=headers).status == 200


def test_two_tokens_are_as_bad_as_none(entry: CloudRun) -> None:
    token = f"Bearer {entry.id_token(INVOKER, entry.url())}".encode()
    with Connection(int(entry.url().rpartition(":")[2])) as connection:
        for header in (b"authorization", b"x-serverless-authorization"):
            assert connection.get("/headers", [(header, token)]).status == 200
            assert connection.get("/headers", [(header, token), (header, token)]).status == 401


def test_x_serverless_authorization_is_the_one_that_is_checked(run: CloudRun) -> None:
    token = f"Bearer {run.id_token('api', 'pricing')}"
    own = "Bearer an.app's.own"
    sent = {"x-serverless-authorization": token, "authorization": own}
    seen = run.get("/headers", service="pricing", caller="api", headers=sent).json()
    assert seen["authorization"] == own, "the app's own passes unchanged"
    assert seen["x-serverless-authorization"] == f"{token.rpartition('.')[0]}.{REMOVED}"
    refused(run, 401, caller="api", headers={"x-serverless-authorization": own, "authorization": token})


def test_tokens_sent_to_a_public_service_pass_unchanged(run: CloudRun) -> None:
    assert run.get("/headers", headers={"authorization": "Bearer my.own.token"}).json()["authorization"] == (
        "Bearer my.own.token"
    )


def test_a_refused_upload_is_read_so_that_its_sender_hears_why(entry: CloudRun) -> None:
    size, piece = 3_000_000, b"x" * 1000
    with socket.create_connection(("127.0.0.1", int(entry.url().rpartition(":")[2])), timeout=10) as connection:
        connection.sendall(f"POST /headers HTTP/1.1\r\nhost: a\r\ncontent-length: {size}\r\n\r\n".encode())
        readable, _, _ = select.select([connection], [], [], 10)
        assert readable, "the answer did not come before the body"
        for _ in range(size // len(piece)):
            connection.sendall(piece)
        assert connection.recv(1000).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("method", ["HEAD", "POST", "OPTIONS", "DELETE"])
def test_refusals_fit_the_method(entry: CloudRun, method: str, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        reply = entry.request(method, "/headers", caller=STRANGER)
        assert (reply.status, bool(reply.content)) == (403, method != "HEAD")
    assert not caplog.records, "the front end failed"


def test_a_client_in_the_network_that_leaves_is_logged(run: CloudRun, caplog: pytest.LogCaptureFixture) -> None:
    url = httpx.URL(run.url("pricing", inside=True))
    trusted = ssl.create_default_context(cafile=str(run.system.authority.bundle))
    token = run.id_token("api", "pricing")
    with socket.create_connection((url.host, url.port or 0)) as plain:
        connection = trusted.wrap_socket(plain, server_hostname=url.host)
        address = connection.getsockname()
        connection.sendall(f"GET /wait/30 HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n\r\n".encode())
        until(lambda: run.instance("pricing").active == 1, "the request's start")
        connection.close()
    until(lambda: run.instance("pricing").frozen, "the freeze after the client left")
    *_, entry = run.requests("pricing")
    assert (entry.path, entry.status, entry.client) == ("/wait/30", 0, address)
    assert not caplog.records, "the front end failed"


def test_plain_http_inside_the_network_is_not_answered(run: CloudRun) -> None:
    with pytest.raises(httpx.HTTPError):
        httpx.get(run.url("pricing", inside=True).replace("https", "http"), trust_env=False)
    assert run.get("/headers", service="pricing", caller="api").status == 200


def test_metadata_servers_know_their_own_account_only(run: CloudRun) -> None:
    def ask(service: str, path: str, flavor: str = "Google") -> httpx.Response:
        url = f"{run.system.metadata.url(service)}/computeMetadata/v1/instance/service-accounts/{path}"
        return httpx.get(url, headers={"Metadata-Flavor": flavor}, trust_env=False)

    own = account_of("orders", "pricing")
    assert ask("pricing", "default/email").text == own
    for account in ("default", own):
        token = ask("pricing", f"{account}/identity?audience=a&format=full").text
        claims = jwt.decode(token, options={"verify_signature": False})
        assert (claims["email"], claims["aud"], claims["email_verified"]) == (own, "a", True)
        assert ask("pricing", f"{account}/token").status_code == 200
    for kind in ("email", "token", "identity?audience=a", ""):
        assert ask("api", f"{own}/{kind}").status_code == 404
    for query in ("", "?audience=", "?audiences=a"):
        missing = ask("pricing", f"default/identity{query}")
        assert (missing.status_code, missing.text) == (400, "non-empty audience parameter required")
    assert ask("pricing", "default/identity?audience=a", flavor="").status_code == 403


def test_the_metadata_server_can_be_slow_failing_and_gone(start: Callable[..., CloudRun], chain: Path) -> None:
    run = start(chain)
    path = "/call/pricing/headers"
    run.metadata_server(status=503)
    assert run.get(path).status == 500, "the app lets the failure through"
    run.metadata_server(delay=0.3)
    began = time.monotonic()
    assert run.get(path).status == 200
    assert time.monotonic() - began > 0.3
    run.metadata_server(lifetime=-1)
    assert run.get(path).status == 401, "it has expired"
    run.metadata_server()
    run.stop_metadata_server()
    assert run.get(path).status == 500
    run.resume_metadata_server()
    assert run.get(path).status == 200
