"""The processes of one container: they share a process group, which is stopped, continued and ended as one."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING, Final

import psutil

from cloudrun.errors import CloudRunError
from cloudrun.output import Output

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_STOP_LIMIT: Final = 5.0
"""Seconds in which the kernel must have stopped a process group."""
_STOPPED: Final = {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD, psutil.STATUS_TRACING_STOP}


class Processes:
    """A started command and its children."""

    def __init__(self, process: asyncio.subprocess.Process, output: Output) -> None:
        self._process = process
        self._output = output
        atexit.register(self._signal, signal.SIGKILL)

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
            )
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
        """Take the CPU away; returns when no thread of the group runs any more."""
        self._signal(signal.SIGSTOP)
        end = time.monotonic() + _STOP_LIMIT
        while not self._is_stopped():
            if time.monotonic() > end:
                raise CloudRunError(f"process group {self.pid} did not stop within {_STOP_LIMIT} s of SIGSTOP")

    def thaw(self) -> None:
        """Give the CPU back."""
        self._signal(signal.SIGCONT)

    def terminate(self) -> None:
        """Send SIGTERM to the container's first process, as the platform does."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to the whole group; works on stopped processes too."""
        self._signal(signal.SIGKILL)

    async def wait(self) -> int:
        """Return the exit code once the process has ended and its output is read."""
        code = await self._process.wait()
        await self._output.ended()
        atexit.unregister(self._signal)
        return code

    async def output_read(self) -> None:
        """Return when every line is read that was written so far."""
        await self._output.caught_up()

    def _signal(self, number: int) -> None:
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def _is_stopped(self) -> bool:
        try:
            first = psutil.Process(self._process.pid)
            return all(_is_stopped(process) for process in (first, *first.children(recursive=True)))
        except psutil.NoSuchProcess:
            return True


def _is_stopped(process: psutil.Process) -> bool:
    try:
        return process.status() in _STOPPED
    except psutil.NoSuchProcess:
        return True
