"""The command line: `python -m cloudrun dev|check|rules`."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from cloudrun import dev, expect, topology
from cloudrun.errors import CloudRunError
from cloudrun.rules import IMITATED

if TYPE_CHECKING:
    from collections.abc import Coroutine


def main() -> int:
    """Run one command; a mistake of the user's is printed, one line each, and gives exit code 1."""
    parser = argparse.ArgumentParser(prog="cloudrun", description="An offline Cloud Run for this project.")
    parser.add_argument("--project", type=Path, default=Path(), help="folder with topology.yaml (default: this one)")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("dev", help="run the services and show every trace")
    run.add_argument(
        "--once", action="store_true", help="send the requests of e2e/expect.yaml, show their traces and end"
    )
    run.add_argument("--slow", metavar="NAME[:SECONDS]", help="give a service one more callee, which takes its time")
    commands.add_parser("check", help="check topology.yaml and e2e/expect.yaml")
    commands.add_parser("rules", help="list what is imitated, with the sources")
    arguments = parser.parse_args()
    project = arguments.project.resolve()
    try:
        if arguments.command == "dev":
            console = Console(highlight=False)
            run_it = dev.once if arguments.once else dev.watch
            slow = dev.slow_services(arguments.slow) if arguments.slow else {}
            asyncio.run(_until_signalled(run_it(project, console, slow)))
        elif arguments.command == "check":
            expect.load(project, topology.load(project).services)
        else:
            _print_rules()
    except CloudRunError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 0
    return 0


async def _until_signalled(running: Coroutine[Any, Any, None]) -> None:
    """Run until the end, or until a signal: what was started must not outlive a closed terminal."""
    task = asyncio.ensure_future(running)
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    await task


def _print_rules() -> None:
    table = Table("what is imitated", "source", box=None, pad_edge=False)
    for rule in IMITATED:
        table.add_row(rule.claim, rule.source)
    Console(width=200).print(table)


if __name__ == "__main__":
    sys.exit(main())
