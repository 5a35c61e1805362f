"""Measures what tracing costs: `python -m tests.bench [--quick] [--against REF]`.

Writes all samples (run.json), a report and a chart into a new folder of `.bench`, and prints the report.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from tests.bench.errors import BenchError
from tests.bench.plan import FULL, QUICK
from tests.bench.run import FOLDER, compare, measure
from tests.bench.variants import STACKS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="measure what tracing costs")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds: a first impression")
    parser.add_argument("--against", metavar="REF", help="compare the library with that of a commit, under load only")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers end too
    plan = QUICK if chosen.quick else FULL
    try:
        for stack in STACKS:
            if chosen.against:
                with tempfile.TemporaryDirectory() as folder:
                    sys.stdout.write(compare(stack, plan, chosen.against, Path(folder)))
            else:
                report = measure(stack, plan, FOLDER)
                sys.stdout.write(f"{report.read_text()}\n{report}\n")
    except BenchError as error:
        sys.stderr.write(f"bench: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
