"""The rendered project passes its own commands, as a new user runs them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.project import REPOSITORY, make, render

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
@pytest.mark.parametrize("target", ["lint", "test", "e2e"])
def test_own_checks_pass(project: Path, target: str) -> None:
    result = make(project, target)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chain, rendered and not yet installed."""
    folder = tmp_path_factory.mktemp("chain") / "orders"
    assert render(folder, "-d", "topology=chain").returncode == 0
    return folder


@pytest.mark.slow
@pytest.mark.xdist_group("chain")
@pytest.mark.parametrize("target", ["lint", "test"])
def test_own_checks_of_a_chain_cover_every_service(chain: Path, target: str) -> None:
    result = make(chain, target)
    assert result.returncode == 0, result.stdout + result.stderr
    for service in ("api", "pricing", "inventory"):
        assert f"{target} services/{service}\n" in result.stdout


@pytest.mark.slow
@pytest.mark.xdist_group("chain")
@pytest.mark.parametrize(
    ("target", "after", "message"),
    [
        ("lint", "import os\n", "`os` imported but unused"),
        ("test", "def test_it():\n    assert 1 == 2\n", "assert 1 == 2"),
    ],
)
def test_a_mistake_in_any_service_of_a_chain_fails(chain: Path, target: str, after: str, message: str) -> None:
    mistake = chain / "services" / "pricing" / "tests" / "test_mistake.py"
    mistake.write_text(after)
    result = make(chain, target)
    mistake.unlink()
    assert result.returncode != 0
    assert message in result.stdout


def shape(lines: str) -> list[str]:
    """Return `lines` without what differs from run to run: ids, numbers, bars, widths."""
    text = re.sub(r"[0-9a-f]{32}", "TRACE", lines)
    text = re.sub(r"\d+(\.\d+)?", "N", text)
    return [" ".join(line.replace("█", " ").split()) for line in text.strip().splitlines()]


def test_dev_shows_the_trace_of_a_real_request_as_the_readme_does(project: Path) -> None:
    result = make(project, "dev", "ONCE=1")
    assert result.returncode == 0, result.stdout + result.stderr
    readme = (REPOSITORY / "README.md").read_text()
    documented = readme.split("<!-- BEGIN demo -->\n```\n")[1].split("```\n<!-- END demo -->")[0]
    assert shape(result.stdout) == shape(documented)[4:]
    for shown in ('{"id":1,"name":"Item 1","parts":{}}', "SERVER GET /items/{id}", "CLIENT GET", "█"):
        assert shown in result.stdout


def test_dev_at_ratio_zero_says_that_nothing_is_kept(own: Path) -> None:
    topology = own / "topology.yaml"
    topology.write_text(topology.read_text().replace("ratio: 0.1", "ratio: 0"))
    result = make(own, "dev", "ONCE=1")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "sampling.ratio is 0 in topology.yaml: no trace is kept" in result.stdout


BROKEN = {
    "unknown key": ("sampling:", "sampeling:", "topology.yaml:18: sampeling: is no key here: did you mean sampling?"),
    "ratio": ("ratio: 0.1", "ratio: 7", "topology.yaml:20: sampling.ratio: must be between 0 and 1, got 7"),
    "type": ("ratio: 0.1", "ratio: low", 'topology.yaml:20: sampling.ratio: must be a number, got "low"'),
    "duplicate": (
        "region: europe-west1",
        "region: europe-west1\nregion: us-east1",
        "topology.yaml:7: region: stands twice (first in line 6): remove one",
    ),
    "no yaml": ("project: ", "project: [", "topology.yaml:"),
    "unknown callee": (
        "    calls: []",
        "    calls: [pricing]",
        "topology.yaml:36: services.api.calls.0: there is no service pricing: there are api",
    ),
    "internal entry": (
        "    access: public",
        "    access: public\n    ingress: internal",
        "topology.yaml:39: services.api.ingress: internal, so nobody could reach it: use ingress: all",
    ),
    "internal service that nobody calls": (
        "    access: public",
        "    access: public\n  stock:\n    framework: python-fastapi\n    ingress: internal",
        "topology.yaml:41: services.stock.ingress: internal, so nobody could reach it: let a service call it, or use",
    ),
    "access": (
        "access: public",
        "access: secret",
        'services.api.access: "secret" is not allowed: use public or private',
    ),
    "billing": (
        "billing: request",
        "billing: never",
        'billing: "never" is not allowed: use request or instance',
    ),
    "framework": (
        "framework: python-fastapi",
        "framework: node-fastify",
        '"node-fastify" is not supported by this version yet: use python-fastapi',
    ),
    "unknown framework": (
        "framework: python-fastapi",
        "framework: django",
        'services.api.framework: "django" is not allowed: use python-fastapi',
    ),
    "back end": (
        "backend: google",
        "backend: otlp.example",
        'topology.yaml:12: backend: "otlp.example" is not allowed: use google, or the http(s) URL of an OTLP end point',
    ),
    "back end of a collector": (
        "backend: google",
        "backend: https://otlp.example",
        "topology.yaml:12: backend: the collector exports to Google only: set exporter: direct, or use google",
    ),
    "headers for google": (
        "backend: google",
        "backend: google\nbackend_headers_secret: otlp",
        "topology.yaml:13: backend_headers_secret: Google's back end needs no headers: remove it",
    ),
    "secret": (
        "backend: google",
        "backend: google\nbackend_headers_secret: a b",
        'backend_headers_secret: "a b" is not allowed: use the name of a secret of Secret Manager',
    ),
    "exporter": (
        "exporter: sidecar",
        "exporter: batch",
        'exporter: "batch" is not allowed: use sidecar or direct',
    ),
    "too many services": (
        "    access: public",
        "    access: public" + "".join(f"\n  s{number}:\n    framework: python-fastapi" for number in range(20)),
        "topology.yaml:32: services: has 21 entries, this version supports 20: remove the others",
    ),
    "no entry": ("  api:", "  web:", "topology.yaml:32: services.api: is missing: add the entry service"),
    "name": (
        "project: orders",
        "project: Orders!",
        'project: "Orders!" is not allowed: use 1 to 15 lower-case letters',
    ),
}


SERVICES = "services: {api: {framework: python-fastapi}}\n"
ODD = {
    "recursive alias": "project: &a [*a]\n",
    "laughs": "a: &a [x]\nb: &b [*a,*a]\n",
    "tag": "project: !!timestamp foo\n",
    "key that is no text": "2020-01-01: x\n",
    "empty": "",
    "list": "- a\n",
    "null services": "project: a\nregion: a-b1\nservices:\n",
    "null service": "project: a\nregion: a-b1\nservices:\n  api:\n",
    "not a number": "project: a\nregion: a-b1\nsampling: {ratio: .nan}\n" + SERVICES,
    "tiny ratio": "project: a\nregion: a-b1\nsampling: {ratio: 1.0e-18}\n" + SERVICES,
    "platform's variable": "project: a\nregion: a-b1\nservices: {api: {framework: python-fastapi, env: {PORT: '1'}}}\n",
    "nested": "[" * 2000,
    "control character": "project: \x01\n",
}


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_odd_yaml_is_one_line_as_well(own: Path, text: str) -> None:
    (own / "topology.yaml").write_text(text)
    result = make(own, "dev", "ONCE=1")
    lines = [line for line in result.stderr.splitlines() if not line.startswith("make")]
    assert [line.partition(":")[0] for line in lines] == ["topology.yaml"], result.stderr
    assert "Traceback" not in result.stderr


EXPECTED = {
    "requests: []\n": "requests: [] is not allowed: list at least one request",
    "requests: &a [*a]\n": "the alias *a is not supported here",
    "requests: [{request: items}]\n": "use a method and a path without spaces",
    "requests: [{request: GET /, service: web}]\n": "there is no service web: there are api",
    "requests: [{request: GET /, status: true}]\n": "must be a whole number, got true",
    "requests: [{request: GET /, spans: [CLIENT A, web SERVER B]}]\n": "there is no service web: there are api",
    "requests: [{request: GET /, spans: [web GET /]}]\n": "use kind and name, the service in front where it changes",
    "requests: [{request: GET /, spans: [1]}]\n": "must be text, got 1",
    "requests: [{reqest: GET /}]\n": "is no key here: did you mean request?",
}


@pytest.mark.parametrize("text", EXPECTED)
def test_a_broken_expectation_is_said_line_by_line(own: Path, text: str) -> None:
    (own / "e2e" / "expect.yaml").write_text(text)
    result = make(own, "lint")
    lines = [line for line in result.stderr.splitlines() if not line.startswith("make")]
    assert all(line.startswith("expect.yaml:") for line in lines), result.stderr
    assert EXPECTED[text] in result.stderr


@pytest.mark.parametrize("mistake", BROKEN)
@pytest.mark.parametrize("target", ["lint", "dev"])
def test_a_broken_topology_is_one_line(own: Path, mistake: str, target: str) -> None:
    before, after, message = BROKEN[mistake]
    topology = own / "topology.yaml"
    assert before in topology.read_text()
    topology.write_text(topology.read_text().replace(before, after, 1))
    result = make(own, target, "ONCE=1")
    assert result.returncode != 0
    lines = [line for line in result.stderr.splitlines() if not line.startswith("make")]
    assert len(lines) == 1, result.stderr
    assert message in lines[0]
