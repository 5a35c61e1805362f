"""Prints what is lost, and what an outage costs, in each mode: `make test-report`."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from cloudrun import CloudRun

from tests.collector_binary import collector_binary
from tests.journal import Journal
from tests.markdown import table
from tests.project import make, render, with_app
from tests.report import loss, outage
from tests.report.modes import MODES, Mode
from tests.test_outage import REQUESTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

STOCK = "stock: batch processor"


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def section(title: str, header: list[str], rows: list[list[str]]) -> str:
    return f"## {title}\n\n{table(header, rows)}\n"


def install(folder: Path) -> Path:
    """Render and install the default project."""
    say("rendering and installing the default project")
    for result in (render(folder), make(folder, "setup")):
        if result.returncode:
            raise SystemExit(result.stdout + result.stderr)
    return folder


class Report:
    def __init__(self, project: Path, folder: Path) -> None:
        self._folder = folder
        self._rendered = {mode: mode.render(project, folder) for mode in MODES}
        self._done = 0
        over_http = sum(not mode.protocol for mode in MODES)
        others = len(loss.CASES) + len(outage.CASES) - len(outage.HTTP_ONLY)
        self._total = len(MODES) * others + over_http * len(outage.HTTP_ONLY) + 1

    def row(
        self, mode: Mode | None, project: Path, case: str, measure: Callable[[CloudRun, Journal, str], list[str]]
    ) -> list[str]:
        self._done += 1
        label = STOCK if mode is None else str(mode)
        billing = "request" if mode is None else mode.billing
        say(f"[{self._done}/{self._total}] {label}, {billing}: {case}")
        journal = Journal(self._folder / f"journal-{self._done}")
        with CloudRun(project, environment={**journal.environment, "CONTROL": "batch"}) as run:
            return [label, billing, case, *measure(run, journal, case)]

    def rows(self, cases: Iterable[str], measure: Callable[[CloudRun, Journal, str], list[str]]) -> list[list[str]]:
        return [
            self.row(mode, self._rendered[mode], case, measure)
            for case in cases
            for mode in MODES
            if not (mode.protocol and case in outage.HTTP_ONLY)
        ]


def main() -> None:
    os.environ["COLLECTOR_BINARY"] = str(collector_binary())
    with tempfile.TemporaryDirectory(prefix="tracerun-report-") as temporary:
        folder = Path(temporary)
        project = install(folder / "orders")
        report = Report(project, folder)
        stock = with_app(project, folder / "stock", "controls/stock", environment=Path(sys.executable).parents[1])
        lost = report.rows(loss.CASES, loss.measure)
        lost.append(report.row(None, stock, next(iter(loss.CASES)), loss.measure))
        waited = report.rows(outage.CASES, outage.measure)
    columns = ["export", "billing"]
    sys.stdout.write(section("Loss: spans started, and those that have not arrived", columns + loss.HEADER, lost))
    sys.stdout.write("\n")
    title = f"Outage: {REQUESTS} requests in a row while the back end is in trouble"
    sys.stdout.write(section(title, columns + outage.HEADER, waited))


if __name__ == "__main__":
    main()
