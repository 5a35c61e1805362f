"""Takes each behaviour out, by the patches in this folder, and checks that the test that a patch names turns red.

A patch starts with the line `Killed-by: NODE`, a pytest node.
`python -m tests.mutants [NAME …]` runs all, or those named.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).parents[2]
FOLDER: Final = Path(__file__).parent
LIBRARY: Final = "template/libs/python/"
AT_ONCE: Final = 2
TESTS_FAILED: Final = 1
"""pytest's exit code for it; any other but 0 means that the tests did not run."""
LEFT_OUT: Final = (
    ".git",
    ".venv",
    ".uv",
    ".bench",
    ".cache",
    ".demo",
    "__pycache__",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
)


@dataclass(frozen=True)
class Mutant:
    name: str
    patch: Path
    killed_by: str

    @classmethod
    def read(cls, patch: Path) -> Mutant:
        head, _, node = patch.read_text(encoding="utf-8").partition("\n")[0].partition(": ")
        if head != "Killed-by" or not node:
            raise SystemExit(f"{patch.name}: the first line must be `Killed-by: NODE`")
        return cls(patch.stem, patch, node)


@dataclass(frozen=True)
class Result:
    killed: bool
    seconds: float
    reason: str


def copy_to(folder: Path) -> Path:
    tree = folder / "tracerun"
    shutil.copytree(REPOSITORY, tree, ignore=shutil.ignore_patterns(*LEFT_OUT))
    (REPOSITORY / ".cache").mkdir(exist_ok=True)
    for shared in (".venv", ".cache"):
        (tree / shared).symlink_to(REPOSITORY / shared)
    return tree


def run_test(tree: Path, node: str) -> subprocess.CompletedProcess[str]:
    """Run one test in `tree`; the library's own run where the library is."""
    folder = tree / LIBRARY if node.startswith(LIBRARY) else tree
    python = str(REPOSITORY / ".venv" / "bin" / "python")
    return subprocess.run(
        [python, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", node.removeprefix(LIBRARY)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(tree / LIBRARY / "src")},
        capture_output=True,
        text=True,
        check=False,
    )


def try_mutant(mutant: Mutant) -> Result:
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        tree = copy_to(Path(folder))
        applied = subprocess.run(["git", "apply", mutant.patch], cwd=tree, capture_output=True, text=True, check=False)
        if applied.returncode:
            return Result(killed=False, seconds=0, reason=f"the patch does not apply: {applied.stderr.strip()}")
        ended = run_test(tree, mutant.killed_by)
    reason = {0: "the test stayed green", TESTS_FAILED: ""}.get(
        ended.returncode, f"the test did not run: {(ended.stdout + ended.stderr)[-1000:]}"
    )
    return Result(ended.returncode == TESTS_FAILED, time.monotonic() - began, reason)


def unmutated_pass(mutants: list[Mutant]) -> bool:
    """Run every named test without a mutation: a test that is red anyway kills nothing."""
    with tempfile.TemporaryDirectory() as folder:
        tree = copy_to(Path(folder))
        nodes = sorted({mutant.killed_by for mutant in mutants})
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for node, ended in zip(nodes, pool.map(lambda node: run_test(tree, node), nodes), strict=True):
                sys.stdout.write(f"unmutated: {'green' if ended.returncode == 0 else 'RED'}  {node}\n")
                sys.stdout.flush()
                if ended.returncode:
                    sys.stdout.write(ended.stdout[-2000:])
                    return False
    return True


def main() -> int:
    wanted = sys.argv[1:]
    mutants = [Mutant.read(patch) for patch in sorted(FOLDER.glob("*.patch")) if not wanted or patch.stem in wanted]
    if not mutants:
        sys.stderr.write(f"no patch of that name in {FOLDER}\n")
        return 2
    if not unmutated_pass(mutants):
        return 1
    survived = 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for number, (mutant, result) in enumerate(zip(mutants, pool.map(try_mutant, mutants), strict=True), 1):
            survived += not result.killed
            verdict = "killed" if result.killed else f"SURVIVED ({result.reason})"
            sys.stdout.write(f"[{number}/{len(mutants)}] {mutant.name}: {verdict} in {result.seconds:.0f} s\n")
            sys.stdout.flush()
    sys.stdout.write(f"{len(mutants) - survived} passed, {survived} failed\n")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
