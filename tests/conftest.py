"""What every test shares: a home of its own, one thread per part, and nothing that phones home."""

from __future__ import annotations

import atexit
import gc
import itertools
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import settings
from threadpoolctl import threadpool_limits

from tests.pages import standing

# Every commit of a database waits milliseconds for the disk, so what tests write lies in memory where there is room:
# below tmp_path until the test has passed, what parts leave in their temporary folders until the run ends.
MEMORY, ROOM = Path("/dev/shm"), 4 << 30
if "TMPDIR" not in os.environ and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= ROOM:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))
    os.environ["TMPDIR"] = tempfile.tempdir = tempfile.mkdtemp(prefix="selfheal-tests-", dir=MEMORY)
    atexit.register(shutil.rmtree, tempfile.tempdir, ignore_errors=True)
# What the parts bring along when they are imported stays, half a million objects: at Python's own pace the collector
# walks through them an eighth of the time.
gc.set_threshold(100_000, 20, 100)
# Before torch, numpy and MLflow are imported: the suite runs in two processes on two cores, so a thread pool in
# each would only make them wait for each other.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"):
    os.environ.setdefault(_name, "1")
import scipy.special  # noqa: E402, F401  after these, and before torch: see selfheal.parts.preprocessing

# Where there are no workers, a plugin has imported numpy already: two threads of BLAS then cost four times the time.
threadpool_limits(1)
for _name, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # Prefect's default of 20 s is too short for a loaded machine.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "90",
    # a second of CPU for each new server, of which no test uses a block
    "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
    # matplotlib draws into files, never on a display
    "MPLBACKEND": "Agg",
}.items():
    os.environ.setdefault(_name, _value)
# A developer's own installation must not leak into a test, nor a test into it.
_PLACES = (
    "SELFHEAL_HOME",
    "SELFHEAL_DATABASE_URL",
    "SELFHEAL_RULES",
    "MLFLOW_TRACKING_URI",
    "MLFLOW_REGISTRY_URI",
    "PREFECT_API_URL",
    "PREFECT_HOME",
    "SELFHEAL_API_KEYS",
    "SELFHEAL_AUTH",
    "SELFHEAL_ALERTS",
    "SELFHEAL_ALERTS_DIGEST",
    "SELFHEAL_HEARTBEAT_URL",
    "SELFHEAL_EVIDENTLY",
)
for _name in _PLACES:
    os.environ.pop(_name, None)

# No deadlines: a busy machine is no failure. A gate must say the same of the same commit; new examples are looked for
# at the desk.
settings.register_profile("desk", deadline=None)
settings.register_profile("gate", derandomize=True, deadline=None)
settings.load_profile("gate" if os.environ.get("CI") else "desk")

# Prefect reads it when it is first imported; without it the flows would name ./.selfheal/prefect.
os.environ["PREFECT_HOME"] = tempfile.mkdtemp(prefix="selfheal-prefect-")

_COUNT = itertools.count()
ROOT = Path(__file__).resolve().parent.parent


def pytest_configure(config: pytest.Config) -> None:
    """Processes that heals are forked from, or that are killed, begin as copies of one that runs the whole suite.

    It needs their imports anyway, and has no thread yet; each that started afresh would spend five seconds on them.
    """
    if "PYTEST_XDIST_WORKER" in os.environ and any(Path(place).resolve() == ROOT / "tests" for place in config.args):
        from selfheal.loop import child
        from tests.steering.others import OTHERS

        child.warm(here=True)
        OTHERS.start(here=True)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is long (it carries a group) begins first, so that no process is left with it at the end; else any order."""
    items.sort(key=lambda item: item.get_closest_marker("xdist_group") is None)


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture
def tmp_path(tmp_path: Path) -> Path:
    """A folder whose path no other test of the process has.

    Pytest's own are removed and their names given again, while MLflow and others keep by its path what they opened.
    """
    place = tmp_path / f"t{next(_COUNT)}"
    place.mkdir()
    return place


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty SELFHEAL_HOME below the test's own directory; everything embedded lies below it."""
    place = tmp_path / "home"
    place.mkdir()
    for name in _PLACES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SELFHEAL_HOME", str(place))
    monkeypatch.setenv("SELFHEAL_RULES", str(tmp_path / "rules"))
    return place


@pytest.fixture(scope="session")
def prefect() -> Iterator[Path]:
    """One server for all of a session, and how its database began; flows of the block run against it.

    Without heartbeats. Whoever asks for it carries the group ``prefect``. A server that begins with a copy of that
    database is spared its migrations, 5 s of CPU; this one has made them.
    """
    from prefect.settings import PREFECT_SERVER_DATABASE_CONNECTION_URL
    from prefect.testing.utilities import prefect_test_harness

    from flows.runs import in_process

    with prefect_test_harness(server_startup_timeout=90), in_process():
        database = Path(PREFECT_SERVER_DATABASE_CONNECTION_URL.value().partition(":///")[2])
        began = database.with_name("began.db")
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(began)) as copy:
            source.backup(copy)
        yield began


@pytest.fixture(autouse=True)
def page(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page takes Evidently half a second: the first that was drawn stands for those that no test looks at."""
    if request.node.path.parent.name == "drift" or request.node.get_closest_marker("draws"):
        return
    from selfheal.drift import report

    monkeypatch.setattr(report, "_pages", standing(report._pages))
