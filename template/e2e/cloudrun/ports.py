"""Free TCP ports on this machine."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import random
import socket
import tempfile
import threading
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_PORTS: Final = range(20_000, 32_000)
"""Below those that kernels hand out by themselves, to outgoing connections too (Linux from 32768, macOS from 49152)."""
_choosing: Final = threading.Lock()


def free_port() -> int:
    """Return a port on which nothing listens, and that no other process on this machine gets from here.

    The program that is told to listen on it does so later: a port that the kernel chose may be another's by then.
    Raises `OSError` when all are taken.
    """
    with _choosing:
        for port in itertools.islice(_candidates(), len(_PORTS)):
            if _is_ours(port) and _is_free(port):
                return port
    raise OSError(errno.EADDRINUSE, f"no port from {_PORTS[0]} to {_PORTS[-1]} is free")


@cache
def _candidates() -> Iterator[int]:
    start = random.randrange(len(_PORTS))  # so that processes start at different places
    return itertools.cycle([*_PORTS[start:], *_PORTS[:start]])


@cache
def _claims() -> int:
    path = Path(tempfile.gettempdir()) / f"cloudrun-ports-{os.getuid()}"
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _is_ours(port: int) -> bool:
    """Claim `port` by a lock on one byte of a shared file, which the kernel takes back when this process ends."""
    try:
        fcntl.lockf(_claims(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: one that has ended is no obstacle
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
