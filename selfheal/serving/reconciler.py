"""The helper process beside a scoring service: it alone on the host talks to MLflow.

``python -m selfheal.serving.reconciler MODEL`` fetches bases into the cache and settles stage changes (under a lease:
of all hosts one does). It ends with the process that started it.
"""

from __future__ import annotations

import logging
import os
import sys
import time

from selfheal.errors import SelfhealError

EVERY_S = 1.0
"""Between two looks at MLflow, 7-10 ms of CPU each; a person's change is settled within 5 s. Not niced: a starved
helper holds the lease without settling anything."""

_log = logging.getLogger("selfheal.reconciler")


def run(model: str, parent: int) -> None:
    """Reconcile until the parent is gone; whatever fails is said once and tried again."""
    from selfheal.lifecycle.reconcile import reconcile
    from selfheal.lifecycle.workspace import open_workspace

    ws = open_workspace()
    fetched, said = ("", ""), ""
    while os.getppid() == parent:
        try:
            pointer = ws.table.pointer(model)
            if pointer is not None and (pointer.base_digest, pointer.base_manifest) != fetched:
                ws.registry.base_dir(model, pointer.base_version)
                fetched = (pointer.base_digest, pointer.base_manifest)
            reconcile(ws, model)
            said = ""
        except Exception as error:  # it must outlive what nobody thought of: without it no stage change is served
            if str(error) != said:
                _log.error("%s", error, exc_info=not isinstance(error, SelfhealError))
            said = str(error)
        time.sleep(EVERY_S)
    ws.table.close()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    run(sys.argv[1], os.getppid())
