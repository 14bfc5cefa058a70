"""One of several processes that serve: ``python -m selfheal.serving.worker TOLD``, started by ``workers``."""

from __future__ import annotations

import json
import os
import socket
import sys
from contextlib import ExitStack

from selfheal.errors import SelfhealError
from selfheal.serving.process import configured, run, terminable
from selfheal.serving.wire import Wire
from selfheal.serving.workers import end_with
from selfheal.settings import Settings

if __name__ == "__main__":
    told = json.loads(sys.argv[1])
    pipe = os.dup(1)
    os.dup2(2, 1)  # what a library prints is no word of this process
    with ExitStack() as stack:
        bound, *apart = [stack.enter_context(socket.socket(fileno=fd)) for fd in told["sockets"]]
        stack.enter_context(terminable())
        end_with(told["parent"])
        try:
            configs = configured(
                told["models"], Settings.from_env(), told["host"], told["event_clock"], bool(apart), told["index"]
            )
            run(
                configs,
                None,
                bound,
                next(iter(apart), None),
                json_logs=told["json_logs"],
                drain_s=told["drain_s"],
                on_ready=lambda: os.write(pipe, b"."),
                wire=Wire(**told.get("wire", {})),
            )
        except SelfhealError as error:
            sys.exit(f"error: {error}")
