"""Who acts in a simulated world: the helpers beside services, the loop, people by command and in MLflow."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from selfheal.registry.versions import PIN, STAGE
from selfheal.steering import approve, archive, freeze, promote, reconcile, release, rollback, unfreeze
from selfheal.steering.actors import AUDIT, FLOW, WATCH
from selfheal.steering.look import Look
from selfheal.steering.policies import policy_of_record
from selfheal.steering.releases import recall
from selfheal.steering.stages import PROVEN
from selfheal.steering.waits import put_in, release_held
from tests.steering.simulated.auditor import Auditor
from tests.steering.simulated.mlflow import ADAPTERS
from tests.steering.simulated.world import NAME, SECOND, Process, World, quietly

MOST = 10
"""Versions that there are at once."""


def helper(process: Process) -> None:
    """The reconciler beside a service: a look after another, until its world comes to rest."""
    while not process.world.resting:
        quietly(lambda: reconcile(process.ws, NAME))
        process.ws.pace.wait(process.world.random.uniform(1, 5))


def loop(process: Process) -> None:
    """A run of the monitor, as far as it steers."""
    ws, random = process.ws, process.world.random
    stand = reconcile(ws, NAME).stand
    look = stand.look or Look()
    versions = sorted(stand.versions)
    deeds = {
        "heal": 5 if len(versions) < MOST else 0,
        "release": 2, "held": 2, "recall": 2, "watch": 3, "audit": 1, "labels": 1,
    }  # fmt: skip
    deed = random.choices(list(deeds), list(deeds.values()))[0]
    picked = random.choice(versions)
    if deed == "heal":
        manifest = random.choice("mmmn") * 64
        heal = {"diagnosis": "sensor", "verdict": "promote", "parent": look.settled, "window": 1}
        picked = ws.registry.heal(NAME, random.choice(ADAPTERS), manifest, **heal)  # type: ignore[attr-defined]
        release(ws, NAME, picked)
    elif deed == "release":
        release(ws, NAME, picked)
    elif deed == "held":
        release_held(ws, NAME, policy_of_record(ws, NAME).policy, stand.versions.values(), look)
    elif deed == "recall":
        recall(ws, NAME, random.choice(look.lineage or tuple(versions)), look.settled or 0, "seen before")
    elif deed == "watch":
        rollback(ws, NAME, WATCH, over=look.settled, reason="worse", turned=random.random() < 0.3)
    elif deed == "audit":
        put_in(ws, NAME, picked, AUDIT, over=look.settled, reason="audit: yes")
    else:
        put_in(ws, NAME, picked, FLOW, over=look.settled, reason=f"{PROVEN}better")


def command(auditor: Auditor) -> Callable[[Process], None]:
    """What a person types."""

    def do(process: Process) -> None:
        ws, random = process.ws, process.world.random
        versions = sorted(process.world.mlflow.versions)
        version, who = random.choice(versions), random.choice(("ann", "bob"))
        auditor.talked = version
        deeds = ("promote", "promote", "rollback", "archive", "approve", "freeze", "freeze", "unfreeze", "unfreeze")
        deed = random.choice(deeds)
        if deed == "promote":
            promote(ws, NAME, version, who, pin=random.random() < 0.2)
        elif deed == "rollback":
            rollback(ws, NAME, who)
        elif deed == "archive":
            archive(ws, NAME, version, who)
            if process.world.mlflow.versions.get(version) and process.world.mlflow.stage(version) == "Archived":
                auditor.veto(version)
        elif deed == "approve":
            approve(ws, NAME, version, who)
        elif deed == "freeze":
            until = ws.clock() + timedelta(seconds=random.uniform(1, 20)) if random.random() < 0.5 else None
            frozen = freeze(ws, NAME, who, "an incident", until)
            held = process.world.database.in_force()
            auditor.frozen = not frozen.unfinished and held is not None and frozen.freeze == held
        else:
            unfreeze(ws, NAME, who)

    return do


def person(world: World, auditor: Auditor) -> None:
    """An act of a person on MLflow's pages."""
    mlflow, random = world.mlflow, world.random
    version = random.choice(sorted(mlflow.versions))
    if auditor.talked in mlflow.versions and random.random() < 0.3:
        version = auditor.talked
    deeds = {"stage": 8, "alias": 4, "challenger": 2, "drop": 1, "pin": 2, "delete": 1, "spoil": 1, "mend": 1}
    deed = random.choices(list(deeds), list(deeds.values()))[0]
    if deed == "stage":
        _move(world, auditor, version)
    elif deed in ("alias", "challenger", "drop"):
        _name(world, auditor, version, deed)
    elif deed == "pin":
        value = random.choice(("true", None))
        world.act("person", f"tag {version} {PIN} {value}", lambda: mlflow.tag(NAME, version, PIN, value))
    elif deed == "delete" and len(mlflow.versions) > 4:
        world.act("person", f"delete {version}", lambda: mlflow.delete(version))
        for kind in ("stage", "alias"):
            auditor.withdraw(version, kind)
        auditor.withdrawn.pop(version, None)
        mlflow.unreadable.pop(version, None)
    elif deed == "spoil" and version > 2:
        mlflow.unreadable[version] = random.choice(("away", "away", "changed"))
        for order in auditor.orders:
            order.excused = order.excused or order.version == version
    elif deed == "mend":
        mlflow.unreadable.clear()
    auditor.spoken = world.steps


def _name(world: World, auditor: Auditor, version: int, deed: str) -> None:
    """A person moves an alias, or takes one away."""
    mlflow = world.mlflow
    if deed == "alias" and mlflow.aliases.get("champion") != version:
        world.act("person", f"alias champion {version}", lambda: mlflow.name_alias(NAME, "champion", version))
        auditor.unname()
        auditor.order(version, "alias")
    elif deed == "challenger":
        world.act("person", f"alias challenger {version}", lambda: mlflow.name_alias(NAME, "challenger", version))
        auditor.staged(version)
    elif deed == "drop":
        alias = world.random.choice(("champion", "challenger"))
        world.act("person", f"drop alias {alias}", lambda: mlflow.drop_alias(NAME, alias))
        if alias == "champion":
            auditor.unname()


def _move(world: World, auditor: Auditor, version: int) -> None:
    """A person chooses a stage for a version."""
    mlflow, random = world.mlflow, world.random
    stage = random.choices(("Production", "Archived", "Staging", "None"), (6, 3, 2, 1))[0]
    others = world.settings.stages and stage == "Production" and random.random() < 0.4
    was = mlflow.stage(version)
    gone = [v for v in mlflow.production if v != version] if others else []
    auditor.made.pop(version, None)
    words = f"move {version} to {stage}{', archiving others' if others else ''}"
    if world.settings.stages:
        world.act("person", words, lambda: mlflow.move(NAME, version, stage, others))
    else:
        world.act("person", words, lambda: mlflow.tag(NAME, version, STAGE, stage))
    if was == stage and not gone:
        return
    for other in gone:
        auditor.withdraw(other)
    if stage == "Production":
        if was != stage:
            auditor.order(version, "stage")
        return
    auditor.withdraw(version)
    if stage == "Staging":
        auditor.staged(version)
        return
    # As far as a look can see it: what nobody saw yet is archived by a person only.
    seen = auditor.look()["stages"].get(str(version), f"new, {stage}")
    if was == "Staging" and seen in ("Staging", "new, Archived", "new, None"):
        auditor.veto(version)


def outage(world: World) -> None:
    """A store is away for a while."""
    store = world.random.choice(("mlflow", "database", "files"))
    world.away[store] = world.clock.us + int(world.random.uniform(1, 15) * SECOND)


def does(what: Callable[[Process], None]) -> Callable[[Process], None]:
    """A process that does one thing; whatever is refused, or can't be done, is told in selfheal's words."""

    def do(process: Process) -> None:
        quietly(lambda: what(process))

    return do
