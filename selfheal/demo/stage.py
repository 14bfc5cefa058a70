"""The stage of the demo: a home of its own, a scoring service, the registry, and flows on an ephemeral server.

Nothing here is special to the demo but the order: a user's model is adopted, served and monitored by the same calls.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from selfheal.demo import streams
from selfheal.demo.replay import Answer, Client, Ledger, Place, mixed, served_version, traffic, wait_for
from selfheal.demo.results import Requests
from selfheal.errors import ArtifactError, UnavailableError
from selfheal.settings import Settings

if TYPE_CHECKING:
    from selfheal.loop import Answered, WatchVerdict
    from selfheal.model import MonitoredModel
    from selfheal.steering import Workspace

OWNER, SHIFT = "the station's owner", "the night shift"
"""Under whose names a person acts."""

_START_SECONDS = 90.0
#: A settled change is served within 2 s, a person's settled within 5 s; a busy machine takes longer.
SWAP_SECONDS = 90.0


@dataclass
class Cast:
    """One model on the stage: its frozen base, its stream, where it answers and the client that replays the stream.

    ``model`` is the object that was trained and adopted; ``versions`` are those loaded back from the registry.
    """

    model: MonitoredModel
    stream: streams.Stream
    place: Place
    client: Client
    versions: dict[int, MonitoredModel] = field(default_factory=dict)

    @property
    def ledger(self) -> Ledger:
        """Of all requests to its service."""
        return self.client.ledger


@dataclass
class Stage:
    """What the acts play on.

    Attributes
    ----------
    settings, workspace : the demo's places and the open table and registry.
    cast : by model name.
    """

    settings: Settings
    workspace: Workspace
    cast: dict[str, Cast] = field(default_factory=dict)
    _port: int = field(default_factory=lambda: _free_port())
    _service: subprocess.Popen[bytes] | None = None

    # ------------------------------------------------------------------ setting up and clearing away

    def enter(self, name: str, model: MonitoredModel, stream: streams.Stream) -> None:
        """Let an adopted model play; :meth:`serve` comes after the last."""
        place = Place("127.0.0.1", self._port, f"/models/{name}")
        self.cast[name] = Cast(model, stream, place, Client(place, Ledger()))

    def serve(self) -> None:
        """Start the scoring service of all models, which takes seconds; :meth:`ready` waits for it."""
        command = [sys.executable, "-m", "selfheal.cli", "serve", *self.cast, "--port", str(self._port)]
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("wb") as out:
            self._service = subprocess.Popen(
                [*command, "--event-clock"], stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
            )

    def ready(self) -> None:
        """Wait until the service answers.

        Raises
        ------
        UnavailableError
            Naming its log.
        """
        try:
            wait_for(Place("127.0.0.1", self._port), _START_SECONDS)
        except TimeoutError as error:
            raise UnavailableError(f"{error}; its log is {self._log}") from error

    def close(self) -> None:
        """Stop the service."""
        for member in self.cast.values():
            member.client.close()
        if self._service is not None:
            self._service.terminate()
            try:
                self._service.wait(10)
            except subprocess.TimeoutExpired:
                self._service.kill()
                self._service.wait()

    @property
    def _log(self) -> Path:
        return self.settings.home / "logs" / "serve.log"

    # ------------------------------------------------------------------ what happens in an act

    def send(self, name: str, slice_: streams.Slice) -> list[Answer]:
        """Replay rows as traffic; the answers, in order.

        Raises
        ------
        UnavailableError
            If a row was not answered: the windows would not be what the act is about.
        """
        self.ready()
        member = self.cast[name]
        answers = member.client.send(slice_.rows)
        answered = sum(len(answer.frame) for answer in answers)
        if answered != len(slice_.rows):
            raise UnavailableError(
                f"{answered} of {len(slice_.rows)} rows were answered by {name!r}; {member.ledger.failures[-1]} "
                f"(log: {self._log})"
            )
        return answers

    def monitor(self, name: str, slice_: streams.Slice) -> list[dict[str, Any]]:
        """Run the monitor flow up to the end of ``slice_``, while its clients go on asking.

        Returns
        -------
        list of dict
            The records of the windows that hold these rows, oldest first.
        """
        from flows.monitor import monitor
        from flows.runs import called, in_process

        member = self.cast[name]
        with in_process(), traffic(member.place, member.ledger, slice_.rows):
            called(monitor, name, slice_.until)
            self.wait_served(name, self.settled(name))
        cycles = self.workspace.table.cycles(name, None)
        return [cycle for cycle in cycles if datetime.fromisoformat(cycle["start"]) >= slice_.rows.times[0]]

    def person_promotes(self, name: str, version: int) -> None:
        """Move the alias of Production to a version as a person would: past the journal, over MLflow's client API."""
        self.workspace.registry.store.set_alias(name, self.settings.champion, version)

    def freeze(self, name: str, why: str) -> None:
        """Stop the loop, as ``selfheal freeze`` does."""
        from selfheal import steering

        steering.freeze(self.workspace, name, SHIFT, why)

    def unfreeze(self, name: str) -> WatchVerdict:
        """Let the loop go on, and ask the watch again: what it says of the newest window."""
        from flows.release import watch
        from flows.runs import called, in_process
        from selfheal import steering

        steering.unfreeze(self.workspace, name, SHIFT)
        with in_process():
            verdict = called(watch, name)
        self.wait_served(name, self.settled(name))
        return verdict

    def question(self, name: str) -> str:
        """What the loop asks the owner of the data; empty where nothing is open."""
        from selfheal import loop

        asked = loop.open_question(self.workspace, name)
        return "" if asked is None else asked.text

    def answer(self, name: str, given: str) -> Answered:
        """Answer it, as ``selfheal audit`` does, and wait until what came of it serves."""
        from selfheal import loop

        done = loop.answer_question(self.workspace, name, given, OWNER)
        self.wait_served(name, self.settled(name))
        return done

    def wait_served(self, name: str, version: int) -> int | None:
        """Wait until the service answers with ``version``, at most :data:`SWAP_SECONDS`; what it answers with then."""
        deadline = time.monotonic() + SWAP_SECONDS
        while (now := self.served(name)) != version and time.monotonic() < deadline:
            time.sleep(0.1)
        return now

    # ------------------------------------------------------------------ what is to be seen

    def served(self, name: str) -> int | None:
        """The version that the service answers with now."""
        return served_version(self.cast[name].place)

    def settled(self, name: str) -> int:
        """The version that the journal settled: the one that replicas are pointed at."""
        pointer = self.workspace.table.pointer(name)
        if pointer is None:
            raise UnavailableError(f"no version of {name!r} is settled; was it adopted?")
        return pointer.version

    def model(self, name: str, version: int) -> MonitoredModel:
        """A version, loaded from the registry."""
        versions = self.cast[name].versions
        if version not in versions:
            versions[version] = self.workspace.registry.load(name, version=version)
        return versions[version]

    def alerts(self, name: str, cycles: list[dict[str, Any]]) -> tuple[str, ...]:
        """What was said aloud about these windows: in the journal, the log and a tag in MLflow."""
        windows = {cycle["index"] for cycle in cycles}
        intents = [entry.intent for entry in self.workspace.table.journal(name, kind="alert")]
        return tuple(f"window {said['window']}: {said['what']}" for said in intents if said["window"] in windows)

    def status(self, name: str) -> dict[str, Any]:
        """What ``selfheal status`` says."""
        from selfheal import loop

        return loop.status(self.workspace, name)

    def check_frozen(self) -> None:
        """Digest every frozen part anew: in this process, on disk, and as replicas are told.

        Raises
        ------
        ArtifactError
            If one changed.
        """
        from selfheal.registry.folder import read_base

        for name, member in self.cast.items():
            member.model.check_unchanged()
            pointer = self.workspace.table.pointer(name)
            if pointer is None or pointer.base_digest != member.model.digest:
                raise ArtifactError(f"{name!r} serves another base than {member.model.digest[:12]}, which was adopted")
            read_base(self.settings.cache / pointer.base_manifest, pointer.base_digest, pointer.base_manifest)

    def requests(self) -> Requests:
        """All requests so far; every answer is compared with what the version that it names says of its rows."""
        ledgers = [member.ledger for member in self.cast.values()]
        torn = sum(self._mixed(name) for name in self.cast)
        return Requests(sum(x.sent for x in ledgers), sum(x.failed for x in ledgers), torn)

    def _mixed(self, name: str) -> int:
        answers = self.cast[name].ledger.since(0)
        torn = 0
        for version in sorted({answer.version for answer in answers}):
            own = [answer for answer in answers if answer.version == version]
            frame = pd.concat([answer.frame for answer in own], ignore_index=True)
            torn += mixed(own, version, self.model(name, version).predict_proba(frame))
        return torn


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
