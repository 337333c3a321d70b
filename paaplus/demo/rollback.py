"""Roll one person back, and check it: equal scores, an entry in the history, not undone by the next training."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from paaplus.demo.application import Application
from paaplus.demo.failure import DemoFailed
from paaplus.demo.loop import Served, ask, rating_events
from paaplus.demo.plan import Person
from paaplus.demo.platform import SCAN_INTERVAL_S, Platform
from paaplus.records import Scale

NUM_QUIET_SCANS = 3
REASON = "demo: the last update is not wanted"


@dataclass(frozen=True)
class Proof:
    """The observations of one rollback."""

    user_id: str
    from_number: int
    to_number: int | None  # None: the base model
    bit_for_bit: bool
    num_scores: int  # compared with those recorded while the old version was active
    num_changed_between: int  # number of these that the rolled-back version had served differently
    num_excluded: int
    quiet_scans: int  # scans of the scheduler while all new feedback was excluded
    new_ratings: int  # posted afterwards
    next_version: int
    next_parent: int
    next_num_ratings: int
    old_num_ratings: int
    next_is_live: bool
    not_undone: bool
    history: list[dict[str, Any]]  # newest first

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def choose(people: Sequence[Person], rounds: Sequence[Mapping[str, Served]]) -> tuple[Person, int]:
    """Choose the person to roll back, and the round whose version to return to.

    It is the first person whose active version changed between two rounds. Later rounds come first, and rounds with an
    active adapter before rounds with the base model.

    Raises:
        DemoFailed: nobody's active version changed.
    """
    last = len(rounds) - 1
    for number in range(last - 1, -1, -1):
        for person in people:
            before, now = rounds[number][person.user_id], rounds[last][person.user_id]
            if before.adapter_number != now.adapter_number:
                return person, number
    raise DemoFailed("no adapter became active: there is nothing to roll back")


def roll_back(
    platform: Platform,
    client: Application,
    application: str,
    person: Person,
    policy: dict[str, Any],
    recorded: Served,
    now: Served,
    image_ids: Mapping[str, str],
    scale: Scale,
) -> Proof:
    """Roll `person` back to the version that served `recorded`, compare the scores, then train with new feedback.

    Raises:
        DemoFailed: a command or call failed.
    """
    user = f"{application}/{person.user_id}"
    number = recorded.adapter_number
    old = client.version(person.user_id, number) if number else None
    change = platform.command("adapters", "rollback", user, "--to", str(recorded.adapter_number), "--reason", REASON)
    again = ask(client, [person], image_ids)[person.user_id]
    same = (
        again.scores == recorded.scores
        and again.adapter_digest == recorded.adapter_digest
        and again.base_digest == recorded.base_digest
    )

    versions_before = len(client.versions(person.user_id))
    time.sleep(NUM_QUIET_SCANS * SCAN_INTERVAL_S)
    resting = ask(client, [person], image_ids)[person.user_id]
    stayed = (
        resting.adapter_number == recorded.adapter_number and len(client.versions(person.user_id)) == versions_before
    )

    # New feedback trains from the old version on. Without the excluded feedback there are fewer ratings.
    overrides = json.dumps({**policy, "min_new_feedback": len(person.reserve)})
    platform.command("users", "policy", user, "--set", overrides)
    client.post_all(rating_events(person, person.reserve, image_ids, scale))
    client.wait_until_all_trained([person.user_id], lambda _: None, platform.check_alive)
    newest = client.versions(person.user_id)[0]
    detail = client.version(person.user_id, newest.number)
    after = ask(client, [person], image_ids)[person.user_id]
    excluded = client.call("GET", f"/v1/users/{person.user_id}/exclusions")["items"]
    parent = 0 if detail.parent_id is None else recorded.adapter_number if old and detail.parent_id == old.id else -1
    old_num_ratings = old.num_ratings if old else 0
    not_undone = (
        stayed
        and newest.number > change["from_number"]
        and parent == recorded.adapter_number
        and newest.num_ratings <= old_num_ratings + len(person.reserve)
        and after.adapter_number in (recorded.adapter_number, newest.number)
        and len(excluded) == change["num_excluded"]
    )
    return Proof(
        user_id=person.user_id,
        from_number=change["from_number"],
        to_number=change["to_number"],
        bit_for_bit=same,
        num_scores=sum(len(scores) for scores in recorded.scores.values()),
        num_changed_between=sum(now.scores[image] != recorded.scores[image] for image in recorded.scores),
        num_excluded=change["num_excluded"],
        quiet_scans=NUM_QUIET_SCANS,
        new_ratings=len(person.reserve),
        next_version=newest.number,
        next_parent=parent,
        next_num_ratings=newest.num_ratings,
        old_num_ratings=old_num_ratings,
        next_is_live=after.adapter_number == newest.number,
        not_undone=not_undone,
        history=platform.command("adapters", "history", user),
    )
