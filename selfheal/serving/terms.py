"""What the policy of record says of serving: the file, while it is valid; what came before, when it no longer is."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from selfheal.errors import PolicyError
from selfheal.policy import Policy
from selfheal.table import InferenceTable


@dataclass(frozen=True)
class Terms:
    """What a request is answered by.

    Attributes
    ----------
    ignores
        Whether columns that the model does not have are left out, and not refused.
    refuses
        Whether rows that can't be logged are not answered either.
    shadow
        Share of requests that versions in Staging score too.
    sentinel
        Whether the open window is watched here.
    """

    ignores: bool = False
    refuses: bool = False
    shadow: float = 0.0
    sentinel: bool = False

    @classmethod
    def of(cls, policy: Policy) -> Terms:
        """The part of a policy that the service goes by."""
        full = policy.log is not None and policy.log.when_full == "refuse"
        return cls(policy.serve.extra_columns == "ignore", full, policy.release.shadow, policy.monitor.sentinel)


class PolicyFile:
    """The policy of record of one model, read again when its file changes.

    Parameters
    ----------
    folder
        With the policies of record; None: there are none.
    """

    def __init__(self, folder: Path | None, model: str) -> None:
        self._path = None if folder is None else folder / f"{model}.yaml"
        self._seen: tuple[int, ...] = ()
        self._held: Policy | None = None

    def terms(self, table: InferenceTable, model: str, manifest: str, adopted: Policy) -> Terms:
        """What holds now: by the file, the last valid one, or what was adopted.

        Parameters
        ----------
        manifest
            Digest of the base that serves: a policy that it was adopted with again is kept in the table.
        adopted
            The policy that is stored with the base.
        """
        stamp = self._stamp()
        if self._path is not None and stamp and stamp != self._seen:
            with suppress(PolicyError):  # the reconciler says so, and monitoring
                self._held = Policy.load(self._path)
        if not stamp or self._held is None:
            journaled = [entry.intent["yaml"] for entry in table.journal(model, last=1, kind="policy")] if stamp else []
            kept = next(iter(journaled), None) or table.adopted_policy(model, manifest)
            self._held = None if kept is None else Policy.loads(kept)
        self._seen = stamp
        return Terms.of(self._held or adopted)

    def _stamp(self) -> tuple[int, ...]:
        """What changes when the file does; empty where there is none."""
        if self._path is None:
            return ()
        try:
            stat = self._path.stat()
        except OSError:
            return ()
        return (stat.st_mtime_ns, stat.st_size, stat.st_ino)
