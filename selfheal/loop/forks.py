"""A process of our own that has imported the healing code once and forks a child for every heal.

``multiprocessing`` has a fork server too, but its children run the script that they belong to again, all of it where
that has no ``if __name__ == "__main__"``. This one starts with a module of ours and knows nothing of the script. The
parent may be a worker with threads, so it does not fork itself, unless it says that it has none yet.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import math
import multiprocessing as mp
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from selfheal.errors import SelfhealError

PRELOAD = (
    "selfheal.healing.heal", "skops.io", "torch.export.pt2_archive", "torch.export._trace", "pyarrow.dataset",
    "sympy.tensor.tensor", "narwhals._pandas_like.namespace",
)  # fmt: skip
"""What is imported once: the healing code, and what opening a base imports on first use. Without the first three of
those each child spent 4 s of CPU on them, against 0.2 s on the heal of a year of weather, without the others 0.07 s.
Polars would save another 0.08 s, and stays out: it has threads as soon as it is imported, which no fork keeps."""

NICENESS = 10
"""With it a heal beside the scoring service raised its p50 by at most 6 % (docs/notes.md)."""

_CLOSING_SECONDS = 5.0


class ChildFailedError(SelfhealError):
    """The heal's process died, ran out of time, or raised; the message says which."""


class ForkServer:
    """The parent's side: started when first needed, ended with the parent, one child at a time.

    Parameters
    ----------
    preload
        Modules that are imported once.
    """

    def __init__(self, preload: Sequence[str] = PRELOAD) -> None:
        self._preload = tuple(preload)
        self._afresh()
        os.register_at_fork(after_in_child=self._afresh)  # the parent's server is not the child's

    def _afresh(self) -> None:
        self._lock = threading.RLock()
        self._process: subprocess.Popen[bytes] | Branch | None = None
        self._line: Connection | None = None

    def start(self, *, here: bool = False) -> None:
        """Start it if it does not run; returns at once, its imports take some 8 s of CPU.

        Parameters
        ----------
        here
            Import in this process and fork it: for one that needs the same imports, and has no thread yet. With
            threads, or elsewhere than on Linux, the server starts afresh as ever.
        """
        with self._lock:
            if here and self._process is None and sys.platform == "linux":
                imported(self._preload)
                if threading.active_count() == 1:
                    self._branched()
            self._started()

    def _branched(self) -> None:
        ours, its = socket.socketpair()
        with its:
            pid = os.fork()
            if pid == 0:
                try:
                    ours.close()
                    signal.signal(signal.SIGTERM, signal.SIG_DFL)
                    serve(its.fileno())
                finally:
                    os._exit(1)
        self._process, self._line = Branch(pid), Connection(ours.detach())

    def _started(self) -> Connection:
        if self._process is not None and self._line is not None and self._process.poll() is None:
            return self._line
        self.close()
        ours, its = socket.socketpair()
        with its:
            # The parent's own path, and nothing that lies in the folder it happens to work in.
            path = os.pathsep.join(os.path.abspath(folder) for folder in sys.path)
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", f"from {__name__} import serve; serve{(its.fileno(), *self._preload)}"],
                stdin=subprocess.DEVNULL,
                pass_fds=[its.fileno()],
                env={**os.environ, "PYTHONPATH": path},
            )
        self._line = Connection(ours.detach())
        return self._line

    def call(self, work: Any, task: Any, limit: float) -> Any:
        """``work(task)`` in a child, at most ``limit`` seconds.

        Raises
        ------
        ChildFailedError
            If no answer came back.
        """
        with self._lock:
            line = self._started()
            try:
                line.send((work, task, limit))
                ok, answer = line.recv()
            except (EOFError, OSError) as error:
                self.close()
                raise ChildFailedError(f"the process that heals are forked from died: {error or 'no answer'}") from None
            except BaseException:  # interrupted: what it would still answer must not be taken for the next one's
                self.close()
                raise
        if not ok:
            raise ChildFailedError(str(answer))
        return answer

    def close(self) -> None:
        """End it, and the child that may be under way."""
        process, line = self._process, self._line
        self._process = self._line = None
        if line is not None:
            line.close()
        if process is not None:
            try:
                process.wait(_CLOSING_SECONDS)
            except subprocess.TimeoutExpired:  # it still imports
                process.kill()
                process.wait()


class Branch:
    """A process that was forked, as ``subprocess`` would show it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code, or None while it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self, timeout: float = math.inf) -> int:
        """Its exit code, once it has one.

        Raises
        ------
        subprocess.TimeoutExpired
        """
        until = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired("the process that heals are forked from", timeout)
            time.sleep(0.01)
        return code

    def kill(self) -> None:
        """End it."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


SERVER = ForkServer()
atexit.register(SERVER.close)


def imported(preload: Sequence[str]) -> None:
    """Import modules; what can't be imported the heal will name."""
    for module in preload:
        with suppress(ImportError):
            importlib.import_module(module)


def serve(handle: int, *preload: str) -> None:
    """What the server's process does: answer calls until the parent closes the line, or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's affair: it closes the line
    os.nice(NICENESS)  # its children inherit it; its imports too have time
    line = Connection(handle)
    gc.disable()
    imported(preload)
    gc.freeze()  # what was imported stays: no child need walk through it, which would also copy it
    gc.enable()
    while True:
        try:
            work, task, limit = line.recv()
        except (EOFError, OSError):  # a parent that died resets the line, or closes it
            break
        except Exception as error:
            line.send((False, f"the heal's task could not be read: {type(error).__name__}: {error}"))
            continue
        answer = _answer(line, work, task, limit)
        if answer is None:
            break
        line.send(answer)
    os._exit(0)  # nothing is to be put away, and taking down what was imported takes a second


def _answer(line: Connection, work: Any, task: Any, limit: float) -> tuple[bool, Any] | None:
    """Of one child; None when the parent is gone."""
    receiver, sender = mp.Pipe(duplex=False)
    process = mp.get_context("fork").Process(
        target=_run, args=(work, task, sender, line), name="selfheal heal", daemon=True
    )
    process.start()
    sender.close()
    ready: Sequence[Any] = ()
    try:
        ready = wait([receiver, line], limit)
        if receiver in ready:
            answer: tuple[bool, Any] = receiver.recv()
            return answer
        if line in ready:
            return None
        return False, f"the heal did not end within {limit:g} s and was stopped; is the machine overloaded?"
    except EOFError:
        process.join(_CLOSING_SECONDS)
        code = process.exitcode
        return False, f"the heal's process died (exit code {code}; negative: the signal, -9 when memory ran out)"
    finally:
        receiver.close()
        process.join(0.5 if receiver in ready else 0)
        process.kill()
        process.join()


def _run(work: Any, task: Any, sender: Connection, line: Connection) -> None:
    line.close()
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        sender.send((True, work(task)))
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}:{last.lineno}"
        sender.send((False, f"the heal raised {type(error).__name__} at {where}: {error}"))
    finally:
        sender.close()


def _die_with_parent() -> None:
    parent = mp.parent_process()
    assert parent is not None  # noqa: S101  it was forked by one
    wait([parent.sentinel])
    os._exit(1)
