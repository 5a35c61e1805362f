"""What a running service shows from outside."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from cloudrun import CloudRun


def said_lost(run: CloudRun) -> int:
    """Return how many spans the service has said that it lost."""
    return sum(int(found[1]) for line in run.logs() if (found := re.search(r"(\d+) spans were lost", line)))


def memory_mib(run: CloudRun) -> float:
    return float(psutil.Process(run.instance().processes.pid).memory_info().rss / 2**20)
