"""Audiences: the bits of predictions, for everybody who exists at that moment, and for nobody else."""

from __future__ import annotations

import random
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
import sqlalchemy as sa

from paaplus.db.engine import Database
from paaplus.db.prepared import Prepared
from paaplus.db.tables import AdapterRow, JobRow, UserRow
from paaplus.db.tables.models import AdapterState
from paaplus.errors import InvalidInput, NotFound, Unavailable
from paaplus.services.predictions import audiences as module
from paaplus.services.predictions import user_pages
from paaplus.services.predictions.answers import Target
from paaplus.services.predictions.audiences import Audience, Audiences, Wanted
from paaplus.services.registry import base_models
from paaplus.services.users.keys import OPERATOR
from paaplus.settings import Settings
from tests.paaplus.services.predictions.test_predict import ASPECTS, NUM_USERS, World, random_adapter
from tests.support.factories import make_adapter, make_features, make_image, make_user
from tests.support.tiny import tiny_base


@pytest.fixture
def world(database: Database, settings: Settings, tmp_path: Path) -> World:
    return World(database, settings, tmp_path / "blobs")


def audiences_of(world: World, **settings: int) -> Audiences:
    return Audiences(world.database, world.predictor(), world.settings.model_copy(update=settings))


def ask(audiences: Audiences, image_id: UUID, **wanted: object) -> Audience:
    return audiences.score(OPERATOR, Wanted(image_id, **wanted), lambda _: None)  # type: ignore[arg-type]


def scores(audience: Audience) -> dict[UUID, tuple[bytes, int]]:
    scored = audience.scored
    rows = zip(audience.users.user_ids, scored.score_NA, scored.number_N.tolist(), strict=True)
    return {
        user_id: (score_A.tobytes(), number)
        for place, (user_id, score_A, number) in enumerate(rows)
        if place not in scored.damaged
    }


def predicted(world: World, image_id: UUID) -> dict[UUID, tuple[bytes, int]]:
    """By predictions one by one, of a process that has just started."""
    with world.database.read_session() as session:
        user_ids = list(session.execute(sa.select(UserRow.id).where(UserRow.application != "other")).scalars())
    items = [world.predictor().answer([Target(user_id, image_id)]).items[0] for user_id in user_ids]
    return {
        item.user_id: (
            np.array(list(item.scores.values()), np.float32).tobytes(),
            item.adapter.number if item.adapter is not None else 0,
        )
        for item in items
        if item.scores is not None
    }


def test_scores_have_the_bits_of_predictions(world: World) -> None:
    audiences = audiences_of(world)
    for image_id in world.images[:3] * 2:
        assert scores(ask(audiences, image_id)) == predicted(world, image_id)
    found = ask(audiences, world.images[0])
    assert list(found.users.names) == [f"u{i}" for i in range(NUM_USERS)]
    assert (found.next_after, audiences.num_hits > 0, audiences.size_bytes > 0) == (None, True, True)


@pytest.mark.slow
@pytest.mark.parametrize("few_others", [user_pages.SPARSE_FROM, -NUM_USERS])
def test_every_change_is_seen_at_once_whoever_made_it(
    world: World, monkeypatch: pytest.MonkeyPatch, few_others: int
) -> None:
    """Versions, users and damage change at random, without a notice. Memory is enough, or for two adapters only.

    Versions are read in the order of an index, or, where most are of users of other applications, user by user.
    """
    monkeypatch.setattr(user_pages, "SPARSE", 1)
    monkeypatch.setattr(user_pages, "SPARSE_FROM", few_others)
    monkeypatch.setattr("paaplus.services.predictions.adapter_matrix.READ_AT_ONCE", 2)
    other = Database(world.settings.resolved_database_url)  # as another process
    plenty, tight = audiences_of(world), audiences_of(world)
    tight._max_bytes = 1_500
    newer = tiny_base(ASPECTS, seed=1)
    rng = random.Random(5)
    with world.database.session() as session:
        newer_row = base_models.register(session, world.blobs, newer, {}, {})
        newer_row.retired_at = newer_row.created_at

    def active(session: sa.orm.Session, user_id: UUID) -> sa.Update:
        of_user = AdapterRow.user_id == user_id, AdapterRow.state == AdapterState.ACTIVE
        return sa.update(AdapterRow).where(*of_user)

    for step in range(30):
        by = rng.choice([world.database, other])
        with by.session() as session:
            user = rng.choice(list(session.execute(sa.select(UserRow).order_by(UserRow.id)).scalars()))
            act = rng.choice(["version", "version", "none", "other base", "damage", "erase", "new", "nothing"])
            if act in ("version", "other base"):
                session.execute(active(session, user.id).values(state=AdapterState.RETIRED))
                row = newer_row if act == "other base" else world.base_row
                adapter = random_adapter(rng.choice(["taste_vector", "bottleneck"]), step, row.digest)
                make_adapter(
                    session, user, base_model_id=row.id, kind=adapter.kind, digest=adapter.digest,
                    data=adapter.to_bytes(),
                )  # fmt: skip
            elif act == "none":
                session.execute(active(session, user.id).values(state=AdapterState.RETIRED))
            elif act == "damage":
                # What is in memory already cannot be damaged: another version is.
                session.execute(active(session, user.id).values(state=AdapterState.RETIRED))
                make_adapter(session, user, base_model_id=world.base_row.id, digest="0" * 64, data=b"damaged")
            elif act == "erase":
                session.delete(user)
            elif act == "new":
                make_user(session, external_id=f"new{step}")
        expected = predicted(world, world.images[0])
        for audiences in (plenty, tight):
            found = ask(audiences, world.images[0])
            assert scores(found) == expected, (step, act)
            with world.database.read_session() as session:
                rows = session.execute(sa.select(UserRow.id, UserRow.external_id).order_by(UserRow.id))
                assert list(zip(found.users.user_ids, found.users.names, strict=True)) == [tuple(row) for row in rows]
    other.dispose()


def test_nothing_is_read_again_while_nothing_was_written(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    audiences = audiences_of(world)
    first = ask(audiences, world.images[0])
    page = ask(audiences, world.images[1]).users
    assert page is first.users, "the same text"
    read: list[str] = []
    rows = Prepared.rows

    def counted(self: Prepared, connection: sa.Connection, **values: object) -> list[object]:
        read.append(type(self).__name__ if "after" not in values else "page")
        return rows(self, connection, **values)

    monkeypatch.setattr(Prepared, "rows", counted)
    assert ask(audiences, world.images[1]).users is page
    is_sqlite = world.database.engine.dialect.name == "sqlite"
    assert read.count("page") == (0 if is_sqlite else 1)
    with world.database.session() as session:
        make_user(session, external_id="late")
    assert len(ask(audiences, world.images[1]).users) == NUM_USERS + 1


def test_one_change_keeps_what_is_known_of_the_others(world: World) -> None:
    audiences = audiences_of(world)
    first = ask(audiences, world.images[0])
    with world.database.session() as session:
        session.execute(sa.update(AdapterRow).values(state=AdapterState.RETIRED))
    second = ask(audiences, world.images[0])
    assert second.users.people is first.users.people
    assert set(second.users.version_N.tolist()) == {user_pages.NO_VERSION} != set(first.users.version_N.tolist())


def test_versions_are_read_from_an_index_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """An adapter's row is some fifty times as large as its entry. PostgreSQL decides by its statistics."""
    if world.database.engine.dialect.name != "sqlite":
        pytest.skip("SQLite only")
    statements: list[str] = []
    rows = Prepared.rows

    def noted(self: Prepared, connection: sa.Connection, **values: object) -> list[object]:
        statements.append(self._compile(connection.dialect)[0])
        return rows(self, connection, **values)

    monkeypatch.setattr(Prepared, "rows", noted)
    page = ask(audiences_of(world), world.images[0]).users
    assert len(page) == NUM_USERS
    of_versions = [text for text in statements if "group_concat" in text and "adapters" in text]
    with world.database.read_connection() as connection:
        cursor = connection.connection.cursor()
        for text in of_versions:
            plan = str(cursor.execute(f"explain query plan {text}", ("",) * text.count("?")).fetchall())
            assert "COVERING INDEX ix_adapters_active" in plan
    assert len(of_versions) == 1


def test_pages_cover_everybody_once(world: World) -> None:
    audiences = audiences_of(world)
    whole = scores(ask(audiences, world.images[0]))
    found: dict[UUID, tuple[bytes, int]] = {}
    after: UUID | None = UUID(int=0)
    sizes = []
    while after is not None:
        page = ask(audiences, world.images[0], after=after, limit=3)
        found |= scores(page)
        sizes.append(len(page.users))
        after = page.next_after
    assert (found, sizes) == (whole, [3, 3, 1])


@pytest.mark.parametrize("page_users", [2, 100])
def test_the_highest_scores_come_first(world: World, monkeypatch: pytest.MonkeyPatch, page_users: int) -> None:
    monkeypatch.setattr(module, "PAGE_USERS", page_users)
    audiences = audiences_of(world)
    whole = ask(audiences, world.images[0], limit=100)
    for number, aspect in enumerate(ASPECTS):
        order = np.argsort(-whole.scored.score_NA[:, number], kind="stable")[:4]
        top = ask(audiences, world.images[0], top=4, aspect=aspect)
        assert top.users.user_ids == [whole.users.user_ids[place] for place in order]
        assert top.scored.score_NA.tobytes() == whole.scored.score_NA[order].tobytes()
    assert len(ask(audiences, world.images[0], top=50).users) == NUM_USERS
    with pytest.raises(InvalidInput, match="no aspect 'loudness'"):
        ask(audiences, world.images[0], top=1, aspect="loudness")


def test_named_users_come_as_they_were_named(world: World) -> None:
    audiences = audiences_of(world)
    whole = scores(ask(audiences, world.images[0]))
    refs = [str(world.users[4]), str(world.users[1]), str(world.users[4])]
    found = ask(audiences, world.images[0], users=refs)
    assert list(found.users.names) == ["u4", "u1", "u4"]
    assert scores(found) == {user_id: whole[user_id] for user_id in (world.users[4], world.users[1])}
    with world.database.session() as session:
        stranger = make_user(session, external_id="x", application="other").id
    for ref in ("nobody", str(stranger)):
        with pytest.raises(NotFound, match="does not exist"):
            ask(audiences, world.images[0], users=[str(world.users[0]), ref])


def test_users_of_another_application_are_not_in_it(world: World) -> None:
    with world.database.session() as session:
        make_user(session, external_id="x", application="other")
        theirs = make_image(session, application="other").id
        make_features(
            session,
            image_id=theirs,
            extractor_digest=world.base.extractor_digest,
            data=world.features_ID[0].tobytes(),
        )
    audiences = audiences_of(world)
    assert list(ask(audiences, theirs).users.names) == ["x"]
    assert "x" not in ask(audiences, world.images[0]).users.names


def test_a_spent_limit_stops_it_before_anything_is_scored(world: World) -> None:
    audiences = audiences_of(world)
    asked: list[int] = []

    def refuse(count: int) -> None:
        asked.append(count)
        raise Unavailable("no more today")

    for wanted in (Wanted(world.images[0]), Wanted(world.images[0], top=3), Wanted(world.images[0], limit=2)):
        with pytest.raises(Unavailable):
            audiences.score(OPERATOR, wanted, refuse)
    assert (asked, audiences.size_bytes) == ([NUM_USERS, 3, 2], 0)


def test_an_image_without_features_is_asked_for(world: World) -> None:
    with world.database.session() as session:
        waiting = make_image(session).id
        failed = make_image(session).id
        world.add_features(session, failed, None, error="no person on it")
    audiences = audiences_of(world)
    with pytest.raises(Unavailable, match="no features yet"):
        ask(audiences, waiting)
    with world.database.read_session() as session:
        assert session.execute(sa.select(sa.func.count()).select_from(JobRow)).scalar_one() == 1
    with pytest.raises(InvalidInput, match="no person on it"):
        ask(audiences, failed)
    with pytest.raises(NotFound):
        ask(audiences, UUID(int=7))
