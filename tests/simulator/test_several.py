"""Several services: started together, each with its own account, addresses and log; shown as one trace."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from cloudrun import CloudRun
from cloudrun.errors import CloudRunError, StartFailed

from tests.project import REPOSITORY, make
from tests.simulator.systems import EXPECT, OPEN_CHAIN, system

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def open_chain(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = system(project, tmp_path_factory.mktemp("open") / "orders", OPEN_CHAIN)
    (folder / "e2e" / "expect.yaml").write_text(EXPECT)
    return folder


def test_each_service_gets_the_addresses_of_those_that_it_calls(chain: Path) -> None:
    with CloudRun(chain) as run:
        names = ("PRICING_URL", "INVENTORY_URL", "API_URL", "TRACERUN_PRIVATE_CALLEES", "SSL_CERT_FILE")
        given = {
            service: {name: run.instance(service).environment.get(name) for name in names}
            for service in ("api", "pricing", "inventory")
        }
        nothing = dict.fromkeys(names)
        bundle = str(run.system.authority.bundle)
        for caller, callee in (("api", "pricing"), ("pricing", "inventory")):
            url = run.url(callee, inside=True)
            assert url.startswith("https://")
            private = {f"{callee.upper()}_URL": url, "TRACERUN_PRIVATE_CALLEES": url, "SSL_CERT_FILE": bundle}
            assert given[caller] == {**nothing, **private}
        assert given["inventory"] == nothing
        addresses = {run.url(service, inside=inside) for service in given for inside in (True, False)}
        assert len(addresses) == 6


def test_public_callees_are_not_among_the_private_ones(project: Path, tmp_path: Path) -> None:
    services = OPEN_CHAIN.replace("calls: [inventory]", "calls: [inventory, stock, costs]") + (
        "  stock:\n    framework: python-fastapi\n    access: private\n"
        "  costs:\n    framework: python-fastapi\n    access: private\n"
    )
    with CloudRun(system(project, tmp_path / "orders", services)) as run:
        private = [run.url(service, inside=True) for service in ("stock", "costs")]
        assert run.instance("pricing").environment["TRACERUN_PRIVATE_CALLEES"] == ",".join(private)
        assert "TRACERUN_PRIVATE_CALLEES" not in run.instance("api").environment


def test_a_service_that_does_not_start_is_named_and_nothing_stays_behind(chain: Path, tmp_path: Path) -> None:
    broken = tmp_path / "orders"
    shutil.copytree(chain, broken, symlinks=True)
    (broken / "services" / "inventory" / "app" / "main.py").write_text("raise RuntimeError('no stock')\n")
    before = set(psutil.Process().children(recursive=True))
    with pytest.raises(StartFailed, match=r"^inventory ended with 1: RuntimeError: no stock$"), CloudRun(broken):
        pass
    left = [process for process in set(psutil.Process().children(recursive=True)) - before if process.is_running()]
    assert not [process for process in left if process.status() != psutil.STATUS_ZOMBIE]


def test_make_dev_shows_one_trace_over_all_services_with_its_log_lines(open_chain: Path) -> None:
    result = make(open_chain, "dev", "ONCE=1", "SLOW=inventory:0.7")
    assert result.returncode == 0, result.stdout + result.stderr
    for service, door in (("api", ""), ("pricing", " (internal: 404 from outside)")):
        assert re.search(rf"^  {service}: http://127\.0\.0\.1:\d+{re.escape(door)}$", result.stdout, re.MULTILINE)
    rows = [
        (service, " ".join(label.split()), float(took))
        for service, label, took in re.findall(
            r"^(api|pricing|inventory) +((?:SERVER|CLIENT) .*?)  +(\d+\.\d)  +█", result.stdout, re.MULTILINE
        )
    ]
    assert [row[:2] for row in rows] == [
        ("api", "SERVER GET /items/{id}"),
        ("api", "CLIENT GET → pricing"),
        ("pricing", "SERVER GET /items/{id}"),
        ("pricing", "CLIENT GET → inventory"),
        ("inventory", "SERVER GET /items/{id}"),
        ("inventory", "CLIENT GET → slow"),
    ], result.stdout
    assert all(took >= 700 for _, _, took in rows), "every span waits for the slow one"
    logged = result.stdout.partition("log lines of this trace: ")[2].splitlines()
    assert logged[0] == "inventory 1, pricing 1, api 1"
    assert [line.split()[::2][:1] + line.split()[2:] for line in logged[1:4]] == [
        [service, "INFO", "GET", "/items/1", "200"] for service in ("inventory", "pricing", "api")
    ]


def test_what_is_slow_must_be_there(open_chain: Path) -> None:
    for slow, text in (
        ("invent", "there is no service invent; there are api, pricing, inventory"),
        ("api:soon", "SLOW=api:soon: use NAME:SECONDS with 0 to 30 seconds, such as api:2"),
        ("api:-1", "SLOW=api:-1: use NAME:SECONDS"),
        ("api:nan", "SLOW=api:nan: use NAME:SECONDS"),
    ):
        result = make(open_chain, "dev", "ONCE=1", f"SLOW={slow}")
        lines = [line for line in result.stderr.splitlines() if not line.startswith("make")]
        assert (result.returncode, len(lines)) == (2, 1), result.stderr
        assert text in lines[0]


@pytest.mark.slow
def test_the_rendered_tests_hold_for_several_services(open_chain: Path) -> None:
    result = make(open_chain, "e2e")
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.slow
def test_the_rendered_tests_miss_a_call_that_no_request_makes(open_chain: Path, tmp_path: Path) -> None:
    folder = tmp_path / "orders"
    shutil.copytree(open_chain, folder, symlinks=True)
    topology = folder / "topology.yaml"
    topology.write_text(
        topology.read_text().replace("calls: [pricing]", "calls: [pricing, stock]")
        + ("  stock:\n    framework: python-fastapi\n    access: public\n")
    )
    shutil.copytree(folder / "services" / "inventory", folder / "services" / "stock", symlinks=True)
    api = folder / "services" / "api" / "app" / "settings.py"
    api.write_text(api.read_text().replace('"UPSTREAM_URL"}', '"UPSTREAM_URL", "STOCK_URL"}'))
    result = make(folder, "e2e")
    assert result.returncode != 0
    assert (
        "no request of expect.yaml shows these calls, or their spans are not joined: [('api', 'stock')]"
        in result.stdout
    )


def test_a_private_entry_is_called_with_an_id_token(project: Path, tmp_path: Path) -> None:
    entry = "  api:\n    framework: python-fastapi\n    access: private\n    max_instances: 30\n"
    folder = system(project, tmp_path / "orders", entry)
    result = make(folder, "dev", "ONCE=1")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "(private: 401 without an ID token)" in result.stdout
    assert "api has max_instances 30: this machine runs 10 at most" in result.stdout
    assert re.search(
        r"call api for 12 hours with -H 'authorization: Bearer [\w.-]{200,}'$", result.stdout, re.MULTILINE
    )
    assert "SERVER GET /items/{id}" in result.stdout


def test_the_example_of_the_documentation_holds(chain: Path) -> None:
    text = (REPOSITORY / "docs" / "offline-cloud-run.md").read_text().split("```python\n")[1].split("```")[0]
    code: dict[str, Any] = {"CloudRun": CloudRun}
    exec(text.replace("/items/1", "/headers"), code)  # noqa: S102 (it is ours)
    with CloudRun(chain) as run:
        code["test_pricing_answers_only_api"](run)


def test_unknown_accounts_and_services_are_named(chain: Path) -> None:
    run = CloudRun(chain)
    with pytest.raises(CloudRunError, match="there is no service stock; there are api, pricing, inventory"):
        run.id_token("stock", "api")
