"""As many instances as the concurrency asks for, each with a CPU of its own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

import pytest

from tests.simulator.systems import system
from tests.test_handlers import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future
    from pathlib import Path

    from cloudrun import CloudRun, Reply

SERVICE = """\
  api:
    framework: python-fastapi
    access: public
    concurrency: {concurrency}
    max_instances: {most}
"""
LONG = 1.5
"""Seconds: a request that takes longer than another instance's start."""


class Scaled(Protocol):
    def __call__(self, *, concurrency: int, most: int) -> CloudRun: ...


@pytest.fixture
def scaled(start: Callable[..., CloudRun], project: Path, tmp_path: Path) -> Scaled:
    def scaled(*, concurrency: int, most: int) -> CloudRun:
        services = SERVICE.format(concurrency=concurrency, most=most)
        return start(system(project, tmp_path / "orders", services, app="callers"))

    return scaled


@pytest.fixture
def clients() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as clients:
        yield clients


def wait(run: CloudRun, clients: ThreadPoolExecutor, count: int, seconds: float = LONG) -> list[Future[Reply]]:
    return [clients.submit(run.get, f"/wait/{seconds}") for _ in range(count)]


def processes(replies: list[Future[Reply]]) -> list[int]:
    assert {reply.result().status for reply in replies} == {200}
    return [reply.result().json()["process"] for reply in replies]


def test_what_fits_into_one_instance_stays_there(scaled: Scaled, clients: ThreadPoolExecutor) -> None:
    run = scaled(concurrency=4, most=3)
    assert len(set(processes(wait(run, clients, 4)))) == 1
    assert len(run.instances()) == 1


def test_more_requests_at_once_start_more_instances(scaled: Scaled, clients: ThreadPoolExecutor) -> None:
    run = scaled(concurrency=2, most=3)
    at_once = processes(wait(run, clients, 6, 4))
    assert len(run.instances()) == 3
    assert sorted(at_once.count(process) for process in set(at_once)) == [2, 2, 2]
    assert {instance.processes.pid for instance in run.instances()} == set(at_once)


def test_no_instance_gets_more_than_its_concurrency_and_no_more_start_than_allowed(
    scaled: Scaled, clients: ThreadPoolExecutor
) -> None:
    run = scaled(concurrency=1, most=2)
    replies = wait(run, clients, 8, 0.3)
    most = 0
    while not all(reply.done() for reply in replies):
        most = max(most, *(instance.active for instance in run.instances()))
    assert most == 1
    assert len(set(processes(replies))) == 2
    assert len(run.instances()) == 2


def test_each_instance_loses_its_own_cpu(scaled: Scaled, clients: ThreadPoolExecutor) -> None:
    run = scaled(concurrency=1, most=2)
    processes(wait(run, clients, 2))
    first, second = run.instances()
    assert (first.frozen, second.frozen) == (True, True)
    (reply,) = wait(run, clients, 1, 0.5)
    until(lambda: first.active == 1, "the request's start")
    assert (first.frozen, second.frozen) == (False, True)
    reply.result()
    assert first.frozen


def test_who_waits_too_long_gets_429(scaled: Scaled, clients: ThreadPoolExecutor) -> None:
    run = scaled(concurrency=1, most=1)
    run.system.instances["api"].shortest_wait = 0.1
    (long,) = wait(run, clients, 1, 10)
    until(lambda: run.instance().active == 1, "the request's start")
    refused = run.get("/headers")
    assert refused.status == 429
    assert "max_instances is 1, concurrency 1" in refused.content.decode()
    assert [entry.status for entry in run.requests()] == [429]
    assert not long.done()
    run.kill()
    assert long.result().status == 503


def test_a_place_that_becomes_free_goes_to_the_first_in_line(scaled: Scaled, clients: ThreadPoolExecutor) -> None:
    run = scaled(concurrency=1, most=1)
    first = clients.submit(run.get, "/wait/1")
    until(lambda: run.instance().active == 1, "the request's start")
    second = clients.submit(run.get, "/headers?second")
    until(lambda: len(run.system.instances["api"].line) == 1, "the second in line")
    third = clients.submit(run.get, "/headers?third")
    assert {reply.result().status for reply in (first, second, third)} == {200}
    assert [entry.path for entry in run.requests()] == ["/wait/1", "/headers?second", "/headers?third"]
    assert run.instance().freezes == 2, "the CPU stays while somebody waits"


@pytest.mark.slow
def test_tests_end_one_instance_or_all(scaled: Scaled, clients: ThreadPoolExecutor) -> None:
    run = scaled(concurrency=1, most=2)
    processes(wait(run, clients, 2))
    first, second = run.instances()
    run.kill(instance=first)
    assert (first.is_running, second.is_running) == (False, True)
    assert run.instance() is second
    assert processes(wait(run, clients, 1, 0)) == [second.processes.pid]
    run.start_instance()
    assert [instance.is_running for instance in run.instances()] == [True, True]
    assert run.terminate().code == 0
    assert not any(instance.is_running for instance in run.instances())
    assert run.get("/headers").status == 503


@pytest.mark.slow
def test_an_instance_that_does_not_start_is_told_and_the_others_go_on(
    scaled: Scaled, clients: ThreadPoolExecutor
) -> None:
    run = scaled(concurrency=1, most=2)
    (run.system.project / "services" / "api" / "app" / "main.py").write_text("raise RuntimeError('half written')\n")
    assert len(set(processes(wait(run, clients, 2)))) == 1
    until(lambda: any("half written" in line for line in run.logs()), "the failure")
    assert any(line.startswith("another instance did not start: api ended with 1") for line in run.logs())


def test_this_machine_bounds_what_topology_yaml_allows(scaled: Scaled) -> None:
    assert scaled(concurrency=1, most=500).system.instances["api"].most == 10
