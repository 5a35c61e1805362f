"""What each variant loses in the offline Cloud Run, where an idle instance has no CPU."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

from cloudrun import CloudRun

from tests.bench.errors import BenchError
from tests.bench.server import environment
from tests.project import render
from tests.traffic import BURST, SINGLE_REQUESTS, burst

if TYPE_CHECKING:
    from pathlib import Path

    from cloudrun.client import Reply

    from tests.bench.tools import Tools
    from tests.bench.variants import Stack, Variant

PATH = "/items/1"


def rendered(folder: Path) -> Path:
    """Return the default project, rendered into `folder`."""
    project = folder / "project"
    done = render(project)
    if done.returncode:
        raise BenchError(f"the default project cannot be rendered: {done.stderr.strip()[-300:]}")
    return project


def losses(project: Path, stack: Stack, variant: Variant, tools: Tools) -> dict[str, float]:
    """Return the shares of requests whose SERVER span was lost: frozen after each and killed, and after a burst."""
    service = project / "services" / "api"
    shutil.rmtree(service)
    shutil.copytree(stack.folder, service, ignore=shutil.ignore_patterns("__pycache__"))
    (service / "Dockerfile").write_text(f"CMD {json.dumps([*variant.command])}\n")
    (service / ".venv").symlink_to(stack.install(rivals=variant.rival).parent)
    wanted = environment(stack, variant, tools.endpoint(variant))
    del wanted["PATH"]
    with CloudRun(project, environment=wanted) as run:
        tools.forget()
        for _ in range(SINGLE_REQUESTS):
            _check(variant, run.get(PATH))
        run.kill()
        single = tools.count().server
        run.start_instance()
        tools.forget()
        _check(variant, *burst(run, PATH))
        if not run.instance().frozen:
            raise BenchError(f"{variant.name}: the instance still has CPU, so nothing is known of its losses")
        run.kill()
        from_burst = tools.count().server
    return {"single": 1 - single / SINGLE_REQUESTS, "burst": 1 - from_burst / BURST}


def _check(variant: Variant, *replies: Reply) -> None:
    wrong = {reply.status for reply in replies} - {200}
    if wrong:
        raise BenchError(f"{variant.name}: {PATH} was answered with {wrong.pop()} in the offline Cloud Run")
