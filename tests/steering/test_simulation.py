"""Steering in a simulated world: a sample of its seeds, and each law seen to be broken where steering is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from selfheal.steering import change, promote, reconciler, stages
from selfheal.steering.approvals import Approvals
from selfheal.steering.change import Change
from selfheal.steering.look import PRODUCTION
from tests.steering.simulated import database
from tests.steering.simulated.episodes import Episode, Told, sweep, walk
from tests.steering.simulated.world import NAME, SECOND, BrokenError, Died, Odds

SAMPLE = 120
STOPPED = Odds(stalls=0.05)
"""Many processes that stand still for longer than their lease."""


def test_a_sample_of_seeds_keeps_the_laws() -> None:
    told = Told()
    for seed in range(SAMPLE):
        told += walk(seed)
    assert told.steps > 50_000 and told.deaths > 50, told
    asked = ("never none", "freeze", "budget", "newcomer", "the rule", "veto", "nobody's move", "settled")
    assert all(told.checked.get(law, 0) > 3 for law in asked), told


def test_a_fault_at_every_nth_call() -> None:
    told = sweep(7, every=5)
    assert told.rounds > 40 and told.deaths > 10, told


def test_a_seed_replays() -> None:
    assert walk(11) == walk(11) != walk(12)


def test_a_version_taken_out_by_hand_of_a_half_done_promotion_and_put_back_is_the_newcomer() -> None:
    """Seed 161: the promotion, finished by another process, took it for one that had been in Production all along."""
    assert walk(161).steps > 500


@pytest.mark.parametrize("seed", [10626, 12606])
def test_what_a_person_withdraws_while_a_promotion_first_settles_other_moves_is_not_promoted(seed: int) -> None:
    """The loop read that it was archived, after it had journaled those, and compared no more."""
    assert walk(seed).steps > 300


def test_a_command_that_another_process_finishes_is_the_newer_word() -> None:
    """Seed 4189: the auditor heard of a command only from the process that began it, which had died."""

    def dies(step: str) -> None:
        raise Died

    episode = Episode(0)
    world, auditor = episode.world, episode.auditor
    world.mlflow.unreadable[3] = "away"
    world.act("person", "move 3 to Production", lambda: world.mlflow.move(NAME, 3, "Production", False))
    auditor.order(3, "stage")
    episode._settle()
    assert auditor.look()["awaited"] == 3
    command = world.start("command", lambda process: promote(replace(process.ws, checkpoint=dies), NAME, 2, "ann"))
    world.run(lambda: command.dead, SECOND)
    world.mlflow.unreadable.clear()
    episode._settle()
    assert world.mlflow.production == [2] and [o.kind for o in auditor.orders] == ["stage", "command"]


# ------------------------------------------------------------------ broken on purpose


def old_out_before_new_in(patch: pytest.MonkeyPatch) -> None:
    moves = Change.moves
    patch.setattr(Change, "moves", lambda self, before: moves(self, before)[::-1])
    patch.setattr(
        change,
        "_transition",
        lambda lease, version, stage, *_: lease.ws.registry.transition(lease.model, version, stage),
    )


def the_old_one_stays(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Change, "moves", lambda self, before: [(self.to, PRODUCTION)])


def the_loop_is_no_loop(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Change, "is_of_loop", False)


def nothing_is_spent(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(stages, "not_now", lambda *_: "")


def the_earlier_one_wins(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reconciler, "_latest", lambda infos: min(infos, key=lambda i: (i.updated, i.version)).version)


def aliases_steer_nothing(patch: pytest.MonkeyPatch) -> None:
    moves_since = reconciler.moves_since
    patch.setattr(reconciler, "moves_since", lambda *args: replace(moves_since(*args), champion=None))


def a_veto_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(stages, "_no_like_of_withdrawn", lambda *_: None)


def a_flow_may_do_anything(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(stages, "_may_flow_promote", lambda *_: None)


def nobody_approves(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(stages, "approvals", lambda *_: Approvals((), 0))
    patch.setattr(stages, "lacking", lambda *_: "")


def what_is_open_stays_open(patch: pytest.MonkeyPatch) -> None:
    stand_of = reconciler.stand_of
    patch.setattr(reconciler, "stand_of", lambda *args: replace(stand_of(*args), open=()))


def what_is_half_registered_stays_so(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("selfheal.steering.stand.Stand.half_registered", [])


def acts_come_before_intents(patch: pytest.MonkeyPatch) -> None:
    carry_out = stages.carry_out

    def hasty(lease, what, *rest):  # type: ignore[no-untyped-def]
        lease.ws.registry.transition(lease.model, what.to, PRODUCTION)
        return carry_out(lease, what, *rest)

    patch.setattr(stages, "carry_out", hasty)


def links_hang_on_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(database, "hash_of", lambda before, link, digest: digest)


def the_pointer_stays(patch: pytest.MonkeyPatch) -> None:
    pointer_to = change.pointer_to
    for module in (change, reconciler):
        patch.setattr(
            module, "pointer_to", lambda ws, stand, *args, **kw: stand.pointer or pointer_to(ws, stand, *args, **kw)
        )


def own_moves_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    settled = Change.settled
    patch.setattr(
        Change,
        "settled",
        lambda self, before, stages_, *rest: replace(settled(self, before, stages_, *rest), stages=before.stages),
    )


def aliases_are_not_written(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(change, "_name", lambda *_: None)
    patch.setattr("selfheal.steering.stand.Stand.is_named", lambda *_: True)


def a_lost_lease_keeps_nobody_from_writing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(database.SimulatedDatabase, "keep", lambda *_: None)


BREAKS: tuple[tuple[Callable[[pytest.MonkeyPatch], None], str], ...] = (
    (old_out_before_new_in, "never none in Production"),
    (the_old_one_stays, "one in Production"),
    (the_loop_is_no_loop, "a freeze holds"),
    (nothing_is_spent, "no budget is passed"),
    (the_earlier_one_wins, "the newcomer is obeyed"),
    (aliases_steer_nothing, "the newcomer is obeyed"),
    (a_veto_is_forgotten, "no vetoed like is promoted"),
    (a_flow_may_do_anything, "a pin holds"),
    (nobody_approves, "approvals are asked for"),
    (what_is_open_stays_open, "the journal is complete"),
    (what_is_half_registered_stays_so, "what is registered is staged"),
    (acts_come_before_intents, "the journal is complete"),
    (links_hang_on_nothing, "the journal is chained"),
    (the_pointer_stays, "the pointer names it"),
    (own_moves_are_forgotten, "our own acts are nobody's"),
    (aliases_are_not_written, "alias and stage agree"),
    (a_lost_lease_keeps_nobody_from_writing, "our own acts are nobody's"),
)


@pytest.mark.parametrize(("breaks", "law"), BREAKS, ids=[each[0].__name__ for each in BREAKS])
def test_each_law_is_seen_to_be_broken(
    breaks: Callable[[pytest.MonkeyPatch], None], law: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks(monkeypatch)
    said = set()
    for seed in range(400):
        try:
            walk(seed, STOPPED if breaks is a_lost_lease_keeps_nobody_from_writing else None)
        except BrokenError as broken:
            said.add(str(broken).partition(":")[0])
            assert f"\nseed {seed}, step " in str(broken), "it can be replayed"
        if law in said:
            return
    pytest.fail(f"{law!r} was not seen to be broken, only {said}")
