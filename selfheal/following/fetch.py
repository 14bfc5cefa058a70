"""``python -m selfheal.following.fetch MODEL BASE_VERSION``: bring a base from MLflow into the cache, and end."""

from __future__ import annotations

import sys

from selfheal.errors import SelfhealError


def main(model: str, base_version: str) -> int:
    """Fetch it, and print the folder; why it could not be fetched goes to standard error."""
    from selfheal.registry.store import Registry
    from selfheal.settings import Settings

    try:
        place = Registry(Settings.from_env()).base_dir(model, int(base_version))
    except SelfhealError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(f"{place}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
