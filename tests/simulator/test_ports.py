"""A port that one process was promised is no other's, even before anything listens there."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from cloudrun import ports
from cloudrun.ports import free_port

_TAKE = """
import json, random, sys
random.seed(7)  # so that all of them look in the same places
from cloudrun.ports import free_port
print(json.dumps([free_port() for _ in range(50)]), flush=True)
sys.stdin.read()
"""


def test_no_two_processes_get_the_same_port() -> None:
    taken: list[int] = []
    with ExitStack() as running:
        for _ in range(3):
            process = subprocess.Popen(
                [sys.executable, "-c", _TAKE],
                cwd=Path(ports.__file__).parents[1],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            running.enter_context(process)
            running.callback(process.communicate)
            assert process.stdout is not None
            taken += json.loads(process.stdout.readline())
    assert len(taken) == 150
    assert len(set(taken)) == len(taken)


def test_a_port_where_something_listens_is_passed_over() -> None:
    next_one = free_port() + 1
    with socket.create_server(("127.0.0.1", next_one)):
        assert free_port() != next_one
