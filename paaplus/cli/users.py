"""`paaplus users`: users and their training policies."""

from __future__ import annotations

import time
from dataclasses import asdict, fields
from functools import partial
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from paaplus.cli.common import (
    ACTOR,
    JsonOption,
    OnceOption,
    ReasonOption,
    UserArgument,
    once,
    open_blobs,
    open_database,
    parse_scale,
    print_record,
    print_rows,
    require_folder_of,
    set_object,
    user_of,
)
from paaplus.cli.lazy import lazy_imports
from paaplus.errors import Conflict, Unavailable
from paaplus.settings import get_settings

with lazy_imports():
    from paaplus import records
    from paaplus.scoring import sides
    from paaplus.services import scheduling
    from paaplus.services.adapters import rollbacks, versions
    from paaplus.services.feedback import consistency as consistency_service
    from paaplus.services.images import images as images_service
    from paaplus.services.operations import erasures, export
    from paaplus.services.predictions import anchors as anchors_service
    from paaplus.services.predictions import answers, predict, theme_offsets
    from paaplus.services.reviews import exposure_ratings
    from paaplus.services.users import budget, keys
    from paaplus.services.users import users as users_service

if TYPE_CHECKING:
    from paaplus.db.tables import UserRow

app = typer.Typer()

WAIT_POLL_S = 0.2

FIELDS = ("id", "application", "external_id", "version", "feedback", "pending", "pinned", "last_trained_at",
          "next_due_at", "due_reason")  # fmt: skip


@app.command("list")
def list_users(
    application: Annotated[str | None, typer.Option(help="Only users of this application.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 100,
    as_json: JsonOption = False,
) -> None:
    """Users with their active versions and the time when they are due."""
    with open_database() as database, database.read_session() as session:
        users_service.require_application(session, application)
        rows = users_service.list_users(session, keys.OPERATOR, application=application, limit=limit)
        print_rows(
            [_record(session, row) for row in rows],
            _columns(),
            as_json=as_json,
            title="users",
            json_only=("id", "pinned"),
        )


@app.command()
def show(user: UserArgument, as_json: JsonOption = False) -> None:
    """One user: active version, pending feedback, policy, and the next training with its reason."""
    with open_database() as database, database.read_session() as session:
        row = user_of(session, user)
        record = {**_record(session, row), "policy": scheduling.policy_of(row).to_dict()}
        print_record(record, as_json=as_json)


@app.command()
def policy(
    user: UserArgument,
    overrides: Annotated[
        str | None,
        typer.Option(
            "--set", help='JSON object of fields to override, e.g. \'{"strategy": "replay_ewc"}\'; {} clears.'
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show a user's training policy, or set its overrides."""
    with open_database() as database, database.session() as session:
        row = user_of(session, user)
        if overrides is not None:
            wanted = set_object(overrides)
            budget.check(wanted, get_settings())
            users_service.set_policy(session, row.id, wanted, actor=ACTOR)
        print_record({"overrides": row.policy, "effective": scheduling.policy_of(row).to_dict()}, as_json=as_json)


@app.command()
def retrain(user: UserArgument, reason: ReasonOption, key: OnceOption = None, as_json: JsonOption = False) -> None:
    """Train this user with the next free worker, even if the user is not due."""
    with open_database() as database, database.session() as session:
        row = user_of(session, user)
        act = partial(scheduling.request_training, session, row.id, actor=ACTOR, reason=reason, settings=get_settings())
        given = {"user": row.id, "reason": reason}
        print_record(once(session, key, "users retrain", given, lambda: {"job": act()}), as_json=as_json)


@app.command()
def wait(
    user: UserArgument,
    sequence: Annotated[
        int | None, typer.Option(min=0, help="The event to wait for. Default: the last one of now.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=0, help="Longest wait, in seconds.")] = 300.0,
    as_json: JsonOption = False,
) -> None:
    """Wait until a training has read the user's feedback; exit code 1 if it has not in time."""
    ends_at = time.monotonic() + timeout
    with open_database() as database:
        while True:
            with database.read_session() as session:
                row = user_of(session, user)
                record = {**_record(session, row), "trained": row.trained_sequence}
            sequence = record["feedback"] if sequence is None else sequence
            if row.trained_sequence >= sequence:
                print_record(record, as_json=as_json)
                return
            if time.monotonic() >= ends_at:
                due = f"due at {row.next_due_at:%H:%M:%S} UTC" if row.next_due_at else "not due, or in training"
                raise Unavailable(
                    f"{user} is trained up to event {row.trained_sequence}, not {sequence}, after {timeout:g} s; "
                    f"{record['pending']} events wait, {due} ({row.due_reason or 'no reason'})"
                )
            time.sleep(WAIT_POLL_S)


@app.command()
def sharing(
    user: UserArgument,
    shares_taste: Annotated[
        bool, typer.Option("--yes/--no", help="Whether taste priors and survey encoders may be learned from this user.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Set a user's consent to learning taste priors and survey encoders from the user's feedback."""
    with open_database() as database, database.session() as session:
        row = users_service.set_sharing(session, user_of(session, user).id, shares_taste, actor=ACTOR)
        print_record({**_record(session, row), "shares_taste": row.shares_taste}, as_json=as_json)


@app.command("export")
def export_user(
    user: UserArgument,
    to: Annotated[Path, typer.Option(help="The zip file to write.", dir_okay=False)],
) -> None:
    """Write all data about a user into a zip file: all rows, and the user's own images."""
    if to.exists():
        raise Conflict(f"{to} exists; choose another name")
    require_folder_of(to)
    with open_database() as database:
        with database.read_session() as session:
            user_id = user_of(session, user).id
        with to.open("xb") as file:
            try:
                export.write_zip(database, open_blobs(), user_id, file)
            except BaseException:  # Ctrl-C too: half an archive is none
                to.unlink()
                raise
    typer.echo(f"wrote {to}")


@app.command()
def erase(
    user: UserArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Erase a user with feedback, adapters and own images. This cannot be undone."""
    if not yes:
        with open_database() as database, database.read_session() as session:
            user_of(session, user)
        typer.confirm(f"Erase {user} with all feedback, adapters and images?", abort=True)
    with open_database() as database:
        with database.session() as session:
            erasures.erase(
                session,
                open_blobs(),
                user_of(session, user).id,
                actor=ACTOR,
                erasures_url=get_settings().resolved_erasures_url,
            )
        database.scrub()
    typer.echo(f"erased {user}")


@app.command()
def themes(user: UserArgument, as_json: JsonOption = False) -> None:
    """How far a user's ratings of each theme lie from the served scores: what to add to scores of such images."""
    with open_database() as database:
        with database.read_session() as session:
            user_id = user_of(session, user).id
        predictor = predict.Predictor(database, open_blobs(), get_settings())
        found = theme_offsets.offsets(theme_offsets.theme_calibrators(database, predictor, user_id))
    names = ("aspect", "theme", "num_ratings", "offset")
    print_rows(found, {name: attrgetter(name) for name in names}, as_json=as_json, title="themes")


@app.command()
def anchors(
    user: UserArgument,
    image: Annotated[UUID, typer.Argument(help="Which image.")],
    as_json: JsonOption = False,
) -> None:
    """A user's score of an image beside the nearest images below and above it that the same user has rated."""
    with open_database() as database:
        with database.read_session() as session:
            target = answers.Target(user_of(session, user).id, images_service.get(session, keys.OPERATOR, image).id)
        predictor = predict.Predictor(database, open_blobs(), get_settings())
        found = anchors_service.score_with_anchors(database, predictor, target)
    rows = [
        {
            "aspect": aspect,
            "score": (found.prediction.scores or {})[aspect],
            "below": one.below and str(one.below.image_id),
            "below_rating": one.below and one.below.score,
            "above": one.above and str(one.above.image_id),
            "above_rating": one.above and one.above.score,
        }
        for aspect, one in found.anchors.items()
    ]
    names = ("aspect", "score", "below", "below_rating", "above", "above_rating")
    print_rows(rows, {name: itemgetter(name) for name in names}, as_json=as_json, title="anchors")


@app.command()
def consistency(user: UserArgument, as_json: JsonOption = False) -> None:
    """How many circles a user's comparisons make (A before B, B before C, C before A); by chance it is a quarter.

    And how often each side was chosen, and in how many pairs that were asked again with swapped sides it was the same.
    """
    with open_database() as database, database.read_session() as session:
        by_aspect = consistency_service.consistency_of(session, user_of(session, user))
    rows = [
        {
            "aspect": aspect,
            "num_triples": found.triads.num_triples,
            "num_circular": found.triads.num_circular,
            "circular_share": found.triads.share,
            **asdict(found.sides),
        }
        for aspect, found in by_aspect.items()
    ]
    names = ("aspect", "num_triples", "num_circular", "circular_share", *(field.name for field in fields(sides.Sides)))
    print_rows(rows, {name: itemgetter(name) for name in names}, as_json=as_json, title="consistency")


@app.command("rate-exposure")
def rate_exposure(
    user: UserArgument,
    image: Annotated[UUID, typer.Argument(help="Which image.")],
    rating: Annotated[float | None, typer.Argument(help="Left out: the rating is taken back.")] = None,
    scale: Annotated[str, typer.Option(help="MIN,MAX of the rating.")] = "0,10",
    as_json: JsonOption = False,
) -> None:
    """Say how well exposed a user finds an image: five of these make their own exposure rule."""
    with open_database() as database, database.session() as session:
        row = user_of(session, user)
        if rating is None:
            exposure_ratings.take_back(session, row, image)
            print_record({"taken_back": image}, as_json=as_json)
            return
        waits = exposure_ratings.rate(session, row, image, rating, records.Scale(*parse_scale(scale)), get_settings())
        print_record({"waiting": waits}, as_json=as_json)


@app.command("exposure-rule")
def exposure_rule(
    user: UserArgument,
    image: Annotated[list[UUID] | None, typer.Option(help="Score this image by it; may be repeated.")] = None,
    as_json: JsonOption = False,
) -> None:
    """The user's own exposure rule: the preset that fits their ratings best, and its errors."""
    with open_database() as database, database.read_session() as session:
        own = exposure_ratings.rule_of(session, user_of(session, user), image or [], get_settings())
    record: dict[str, Any] = {
        "preset": own.rule.preset,
        "num_ratings": own.rule.num_ratings,
        "errors": dict(own.rule.errors),
        "waiting": [str(one) for one in own.waiting],
        "scores": {str(one): score for one, score in own.scores.items()},
    }
    print_record(record, as_json=as_json)


def _record(session: Any, row: UserRow) -> dict[str, Any]:
    version = versions.active(session, row.id)
    return {
        "id": row.id,
        "application": row.application,
        "external_id": row.external_id,
        "version": version.number if version else rollbacks.BASE,
        "feedback": row.feedback_sequence,
        "pending": scheduling.pending_feedback(session, row.id),
        "pinned": row.pinned,
        "last_trained_at": row.last_trained_at,
        "next_due_at": row.next_due_at,
        "due_reason": row.due_reason,
    }


def _columns() -> dict[str, Any]:
    return {name: itemgetter(name) for name in FIELDS}
