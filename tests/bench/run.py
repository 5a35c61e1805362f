"""One run of the bench: measure, and write down."""

from __future__ import annotations

import json
import platform
import subprocess
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil

from tests.bench import progress
from tests.bench.chart import svg
from tests.bench.errors import BenchError
from tests.bench.figures import Samples
from tests.bench.loss import rendered
from tests.bench.report import markdown
from tests.bench.steps import load_round, steps
from tests.bench.tools import Cores, Tools
from tests.bench.variants import with_library
from tests.project import REPOSITORY

if TYPE_CHECKING:
    from tests.bench.plan import Plan
    from tests.bench.variants import Stack

FOLDER: Final = REPOSITORY / ".bench"
_LIBRARY: Final = "template/libs/python/src"


def measure(stack: Stack, plan: Plan, folder: Path) -> Path:
    """Measure all of `plan` and return the report, in a new folder within `folder` with its samples and chart."""
    with tempfile.TemporaryDirectory() as work, Tools(Cores.of_this_machine()) as tools:
        samples = list(progress.run(steps(stack, plan, tools, rendered(Path(work)))))
    now = datetime.now(UTC)
    run = {
        "stack": stack.name,
        "date": now.strftime("%Y-%m-%d %H:%M UTC"),
        "machine": machine(),
        "versions": versions(),
        "plan": vars(plan),
        "samples": samples,
    }
    place = folder / now.strftime("%Y%m%d-%H%M%S")
    place.mkdir(parents=True)
    (place / "run.json").write_text(json.dumps(run, indent=1))
    (place / "chart.svg").write_text(svg(stack, run))
    report = place / "report.md"
    report.write_text(markdown(stack, run, "chart.svg"))
    return report


def compare(stack: Stack, plan: Plan, reference: str, work: Path) -> str:
    """Return the ratios with the library as it is and as it was at the commit `reference`, from one interleaved run."""
    archived = subprocess.run(["git", "archive", reference, _LIBRARY], cwd=REPOSITORY, capture_output=True, check=False)
    if archived.returncode:
        raise BenchError(f"--against {reference}: {archived.stderr.decode().strip()}")
    subprocess.run(["tar", "-x", "-C", work], input=archived.stdout, check=True)
    pairs = [(with_library(variant, work / _LIBRARY, f"at {reference}"), variant) for variant in stack.ours]
    variants = [each for pair in pairs for each in pair]
    rounds = range(1, plan.rounds + 1)
    with Tools(Cores.of_this_machine()) as tools:
        made = [step for number in rounds for step in load_round(stack, variants, plan, tools, number)]
        samples = Samples(list(progress.run(made)))
    lines = [f"{'server CPU, untraced ÷ traced':32} {'at ' + reference:>24} {'now':>24}  CPU saved"]
    for before, now in pairs:
        was, is_now = (samples.figure("load", variant.name, "cpu").median for variant in (before, now))
        ratios = (samples.ratio("load", variant.name).shown() for variant in (before, now))
        lines.append(f"{now.name:32} {' '.join(f'{ratio:>24}' for ratio in ratios)}  {(was - is_now) * 1e6:.0f} µs")
    return "\n".join(lines) + "\n"


def machine() -> str:
    """Return what this machine is, in words."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor() or platform.machine(),
    )
    return (
        f"{psutil.cpu_count()} cores of {model}, {psutil.virtual_memory().total >> 30} GB, {platform.system()} "
        f"{platform.release()}, one core for the server and the others for load and back end"
    )


def versions() -> str:
    """Return what was measured, in words."""
    packages = ("fastapi", "uvicorn", "opentelemetry-sdk", "opentelemetry-instrumentation-fastapi")
    return ", ".join([f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in packages)])


def _lines(path: str) -> list[str]:
    file = Path(path)
    return file.read_text().splitlines() if file.exists() else []
