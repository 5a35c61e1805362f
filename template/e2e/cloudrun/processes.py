"""The processes of one container: they share a process group, which is stopped, continued and ended as one."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import ctypes
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Final

import psutil

from cloudrun.errors import CloudRunError, StartFailed
from cloudrun.output import Output

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_STOP_LIMIT: Final = 5.0
"""Seconds in which the kernel must have stopped a process group."""
_PR_SET_PDEATHSIG: Final = 1
_prctl: Final = ctypes.CDLL(None).prctl if sys.platform == "linux" else None
_STOPPED: Final = {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD, psutil.STATUS_TRACING_STOP}


class Processes:
    """A started command and its children."""

    def __init__(self, process: asyncio.subprocess.Process, output: Output) -> None:
        self._process = process
        self._output = output
        atexit.register(self.kill)

    @classmethod
    async def start(
        cls, command: Sequence[str], folder: Path, environment: Mapping[str, str], on_line: Callable[[str], None]
    ) -> Processes:
        """Start `command` in `folder` with exactly `environment`; `on_line` gets every line of its output."""
        output = Output(on_line)
        writing = await output.open()
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                cwd=folder,
                env=dict(environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=writing,
                stderr=writing,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        except (OSError, ValueError, TypeError) as error:
            raise StartFailed(f"{' '.join(command)} cannot be started in {folder}: {error}") from error
        finally:
            os.close(writing)
        return cls(process, output)

    @property
    def pid(self) -> int:
        """The id of the first process, and of the group."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal, None while it runs."""
        return self._process.returncode

    def freeze(self) -> None:
        """Take the CPU away; returns when no thread of the container runs any more."""
        end = time.monotonic() + _STOP_LIMIT
        while not all(_stop(process) for process in self._all()):
            if time.monotonic() > end:
                raise CloudRunError(f"the processes of {self.pid} did not stop within {_STOP_LIMIT} s of SIGSTOP")

    def thaw(self) -> None:
        """Give the CPU back."""
        for process in self._all():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    def _all(self) -> list[psutil.Process]:
        """Return the first process and its children, also those that have left its process group."""
        try:
            first = psutil.Process(self._process.pid)
            return [first, *first.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def terminate(self) -> None:
        """Send SIGTERM to the container's first process, as the platform does."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to the whole container; works on stopped processes too."""
        for process in self._all():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: EPERM for a group of zombies
            os.killpg(self._process.pid, signal.SIGKILL)

    async def wait(self) -> int:
        """Return the exit code once the first process has ended; with it goes the whole container."""
        code = await self._process.wait()
        self.kill()
        await self._output.ended()
        atexit.unregister(self.kill)
        return code

    async def output_read(self) -> None:
        """Return when every line is read that was written so far."""
        await self._output.caught_up()


def _stop(process: psutil.Process) -> bool:
    """Stop `process`; True when the kernel says that it is."""
    try:
        if process.status() in _STOPPED:
            return True
        process.suspend()
        return process.status() in _STOPPED
    except psutil.NoSuchProcess:
        return True


def _die_with_parent() -> None:
    """Make the kernel kill this process when the simulator's ends, whatever ends it (Linux only)."""
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
