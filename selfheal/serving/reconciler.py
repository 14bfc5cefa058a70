"""The helper process beside a scoring service: it alone on the host talks to MLflow.

``python -m selfheal.serving.reconciler MODEL`` fetches bases into the cache and settles stage changes (under a lease:
of all hosts one does). It ends with the process that started it.
"""

from __future__ import annotations

import logging
import os
import sys
import time

from selfheal.errors import NotFoundError, SelfhealError

EVERY_S = 1.0
"""Between two looks at MLflow, 7-10 ms of CPU each; a person's change is settled within 5 s."""

_log = logging.getLogger("selfheal.reconciler")


def run(model: str, parent: int) -> int:
    """Reconcile until the parent is gone."""
    from selfheal.lifecycle.reconcile import reconcile
    from selfheal.lifecycle.workspace import open_workspace

    ws = open_workspace()
    fetched, said = "", ""
    while os.getppid() == parent:
        try:
            pointer = ws.table.pointer(model)
            if pointer is not None and pointer.base_digest != fetched:
                ws.registry.base_dir(model, pointer.base_version)
                fetched = pointer.base_digest
            reconcile(ws, model)
            said = ""
        except NotFoundError as error:
            _log.error("%s", error)
            return error.exit_code
        except SelfhealError as error:
            if str(error) != said:
                _log.error("%s", error)
            said = str(error)
        time.sleep(EVERY_S)
    return 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    if hasattr(os, "nice"):
        os.nice(10)
    sys.exit(run(sys.argv[1], os.getppid()))
