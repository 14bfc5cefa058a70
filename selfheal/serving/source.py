"""Where the serving version comes from: the pointer row, looked at twice a second, and the base in the cache."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from pathlib import Path

from selfheal.errors import ArtifactError, NotFoundError, SelfhealError, nearest
from selfheal.registry.folder import MANIFEST, base_folder
from selfheal.serving.base import Base
from selfheal.serving.config import ServingConfig
from selfheal.serving.scorer import Scorer
from selfheal.serving.terms import PolicyFile, Terms
from selfheal.serving.turns import Turns
from selfheal.table import Freeze, Heartbeat, InferenceTable, Pointer

_log = logging.getLogger("selfheal.serving")


class Source:
    """Holds the one reference that requests take, and replaces it when the pointer changes.

    Attributes
    ----------
    scorer
        What serves now. A request reads it once; the object it got never changes.
    error
        Why the pointer could not be read or followed, or empty.
    read_at
        Monotonic time of the last look that succeeded.
    swaps
        Replacements since the start.
    beat
        What the reconcilers of this model last said; None while none does.
    terms
        What the policy of record says of serving.
    freeze
        Who froze the loop of this model; None while nobody has.
    beat_at
        Monotonic time at which one last said something, or of the start.
    busy
        Held while its thread reads or loads: who takes it keeps the thread still, as a fork must.
    """

    def __init__(self, config: ServingConfig, table: InferenceTable) -> None:
        self._config, self._table = config, table
        self.error = ""
        self.swaps = 0
        self._base: Base | None = None
        self.scorer = self._scorer(self._first())
        self.read_at = self.beat_at = time.monotonic()
        self.beat: Heartbeat | None = None
        self.freeze: Freeze | None = None
        self._policy = PolicyFile(config.rules, config.model)
        self.terms = self._terms()
        self._beat_due = 0.0
        self.renew()

    def renew(self) -> None:
        """A thread that was not started, with what it shares: a forked child has none of its parent's."""
        self.busy = threading.Lock()
        self._turns = Turns("selfheal-pointer", self._turn, lambda: self._config.poll_s)

    def start(self) -> None:
        """Begin to follow the pointer."""
        self._turns.start()

    def close(self) -> None:
        """Stop following."""
        self._turns.close()

    @property
    def age(self) -> float:
        """Seconds since the pointer was last read."""
        return time.monotonic() - self.read_at

    def look(self) -> None:
        """Read the pointer; swap if it names something else. What cannot be followed leaves things as they are."""
        try:
            pointer = self._pointer()
            self.read_at = time.monotonic()
            if pointer != self.scorer.pointer:
                before = self.scorer.version
                self.scorer = self._scorer(pointer)  # one reference: a request has the old version or the new
                self.swaps += 1
                _log.warning("%s: version %d serves now, was %d", pointer.model, pointer.version, before)
            if time.monotonic() >= self._beat_due:
                self._listen()
                self._beat_due = time.monotonic() + self._config.beat_s
            if self.error:
                _log.warning("version %d serves, and changes of it are seen again", self.scorer.version)
            self.error = ""
        except SelfhealError as error:
            if str(error) != self.error:
                _log.error("version %d goes on serving: %s", self.scorer.version, error)
            self.error = str(error)

    def _terms(self) -> Terms:
        base = self.scorer.base
        return self._policy.terms(self._table, self._config.model, base.manifest, base.policy)

    def _turn(self) -> None:
        try:
            with self.busy:
                self.look()
        except Exception as error:  # the thread must outlive what nobody thought of
            words = f"{type(error).__name__}: {error}"
            if words != self.error:
                _log.exception("following the pointer failed")
            self.error = words

    def _first(self) -> Pointer:
        pointer = self._table.pointer(self._config.model)
        if pointer is None:
            name = self._config.model
            raise NotFoundError(
                f"no model {name!r} has been adopted into {self._table.name}{nearest(name, self._table.models())}; "
                "adopt it first: selfheal.adopt(name, model), or `selfheal adopt`"
            )
        return pointer

    def _pointer(self) -> Pointer:
        """What was settled."""
        pointer = self._table.pointer(self._config.model)
        if pointer is None:
            raise NotFoundError(f"the pointer of {self._config.model!r} is gone from {self._table.name}")
        return pointer

    def _listen(self) -> None:
        """What the reconcilers say."""
        self.beat = self._table.heartbeats.last(self._config.model)
        self.freeze = self._table.freezes.find(self._config.model)
        self.terms = self._terms()
        self.beat_at = self.beat_at if self.beat is None else time.monotonic()

    def _folder(self, pointer: Pointer) -> Path:
        """Where its base lies."""
        folder = base_folder(self._config.cache, pointer.base_manifest, pointer.base_digest)
        if not (folder / MANIFEST).exists():
            raise NotFoundError(
                f"base {pointer.base_digest[:12]} of {pointer.model!r} is not in {self._config.cache} yet; the "
                "reconciler beside this service fetches it from MLflow"
            )
        return folder

    def _scorer(self, pointer: Pointer) -> Scorer:
        digest = hashlib.sha256(pointer.adapter).hexdigest()
        if digest != pointer.adapter_digest:
            raise ArtifactError(
                f"the adapter of {pointer.model!r} version {pointer.version} in the pointer has SHA-256 {digest[:12]}, "
                f"settled as {pointer.adapter_digest[:12]}; it was not opened. Promote a version again"
            )
        if self._base is None or not pointer.is_of(self._base.digest, self._base.manifest):
            self._base = Base(self._folder(pointer), pointer.base_digest, pointer.base_manifest)
        return Scorer.on(self._base, pointer)
