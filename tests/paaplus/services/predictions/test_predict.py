"""Predictions: each user's own scores, bit-identical in any batch, each with a receipt."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from paaplus.db.engine import Database
from paaplus.db.prepared import Prepared
from paaplus.db.tables import (
    AdapterRow,
    BaseModelRow,
    FeaturesRow,
    ImageRow,
    JobRow,
    PredictionReceiptRow,
    TastePriorRow,
    UserRow,
)
from paaplus.db.tables.governance import KeyScope
from paaplus.db.tables.jobs import JobKind, JobState
from paaplus.db.tables.models import AdapterState
from paaplus.errors import Damaged, NotFound, Unavailable
from paaplus.ids import new_id
from paaplus.scoring.adapters import Adapter, Bottleneck, TasteVector
from paaplus.services.images import images
from paaplus.services.predictions import active_versions, serving_store
from paaplus.services.predictions.answers import Prediction, Target
from paaplus.services.predictions.predict import Predictor
from paaplus.services.predictions.serving_store import ServingStore
from paaplus.services.registry import base_models
from paaplus.services.users.keys import OPERATOR, Principal
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore
from tests.support.factories import APPLICATION, make_adapter, make_features, make_image, make_user
from tests.support.receipts import keep
from tests.support.tiny import FEATURE_DIM, TASTE_DIM, tiny_base

NUM_USERS, NUM_IMAGES = 7, 12
ASPECTS = ("beauty", "health")


def random_adapter(kind: str, seed: int, base_digest: str) -> Adapter:
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    num = len(ASPECTS)
    alpha_A, beta_A = 1 + 0.1 * normal(num), 0.1 * normal(num)
    if kind == "taste_vector":
        return TasteVector(base_digest, alpha_A, beta_A, normal(TASTE_DIM, num))
    return Bottleneck(base_digest, alpha_A, beta_A, normal(TASTE_DIM, 16), normal(16), normal(16, num))


class World:
    """A base model, images with features, and users: taste vectors, bottlenecks, and the last one without any."""

    def __init__(self, database: Database, settings: Settings, folder: Path) -> None:
        self.database, self.settings = database, settings
        self.blobs = BlobStore(folder.as_uri())
        self.base = tiny_base(ASPECTS)
        rng = np.random.default_rng(3)
        self.features_ID = rng.normal(size=(NUM_IMAGES, FEATURE_DIM)).astype(np.float16)
        with database.session() as session:
            self.base_row = base_models.register(session, self.blobs, self.base, {}, {})
            self.images = [make_image(session).id for _ in range(NUM_IMAGES)]
            for image_id, features_D in zip(self.images, self.features_ID, strict=True):
                self.add_features(session, image_id, features_D.tobytes())
            self.users = [make_user(session, external_id=f"u{i}").id for i in range(NUM_USERS)]
            self.adapters: list[Adapter | None] = [None] * NUM_USERS
            for i in range(NUM_USERS - 1):
                self.set_adapter(session, i, seed=i)

    def add_features(self, session: sa.orm.Session, image_id: UUID, data: bytes | None, **columns: object) -> None:
        make_features(session, image_id=image_id, extractor_digest=self.base.extractor_digest, data=data, **columns)

    def set_adapter(self, session: sa.orm.Session, i: int, seed: int, base_row: BaseModelRow | None = None) -> None:
        """Make a new version active for user `i`."""
        base_row = base_row or self.base_row
        adapter = random_adapter("taste_vector" if i % 2 else "bottleneck", seed, base_row.digest)
        user = session.get(UserRow, self.users[i])
        assert user is not None
        session.execute(sa.update(AdapterRow).where(AdapterRow.user_id == user.id).values(state=AdapterState.RETIRED))
        data = adapter.to_bytes()
        make_adapter(session, user, base_model_id=base_row.id, kind=adapter.kind, digest=adapter.digest, data=data)
        self.adapters[i] = adapter

    def predictor(self) -> Predictor:
        return Predictor(self.database, self.blobs, self.settings)

    def oracle(self, i: int, image: int) -> list[bytes]:
        """The exact score that user `i` must get for an image, computed for this item alone."""
        taste_1R = self.base.project(self.features_ID[image : image + 1])
        generic_1A = self.base.generic(taste_1R)
        adapter = self.adapters[i]
        score_1A = generic_1A if adapter is None else adapter.score(taste_1R, generic_1A)
        return [value.tobytes() for value in score_1A[0]]

    def targets(self, pairs: list[tuple[int, int]]) -> list[Target]:
        return [Target(self.users[i], self.images[image]) for i, image in pairs]

    def num_rows_of_receipts(self) -> int:
        with self.database.read_session() as session:
            return session.execute(sa.select(sa.func.count()).select_from(PredictionReceiptRow)).scalar_one()


@pytest.fixture
def world(database: Database, settings: Settings, tmp_path: Path) -> World:
    return World(database, settings, tmp_path / "blobs")


def bits(item: Prediction) -> list[bytes]:
    assert item.scores is not None
    return [np.float32(value).tobytes() for value in item.scores.values()]


# --- promise: no user is served another user's adapter


PAIR = st.tuples(st.integers(0, NUM_USERS - 1), st.integers(0, NUM_IMAGES - 1))


@hypothesis_settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(PAIR, min_size=1, max_size=60), min_size=1, max_size=3), fresh=st.booleans())
@pytest.mark.slow
def test_scores_have_the_same_bits_alone_and_in_any_batch(
    world: World, batches: list[list[tuple[int, int]]], fresh: bool
) -> None:
    predictor = world.predictor()
    for pairs in batches:
        items = (world.predictor() if fresh else predictor).answer(world.targets(pairs)).items
        assert [(item.user_id, item.image_id) for item in items] == [
            (world.users[i], world.images[image]) for i, image in pairs
        ]
        for (i, image), item in zip(pairs, items, strict=True):
            assert bits(item) == world.oracle(i, image)


def test_scores_have_the_same_bits_in_a_batch_of_everything(world: World) -> None:
    pairs = [(i, image) for image in range(NUM_IMAGES) for i in range(NUM_USERS)] * 20
    items = world.predictor().answer(world.targets(pairs)).items
    expected = {pair: world.oracle(*pair) for pair in set(pairs)}
    assert all(bits(item) == expected[pair] for item, pair in zip(items, pairs, strict=True))


def test_every_answer_is_of_one_version_while_versions_change(world: World) -> None:
    """While versions change, each call gives each user's old or new scores, never a mixture or another user's."""
    pairs = [(i, image) for i in range(NUM_USERS) for image in range(NUM_IMAGES)]
    allowed: dict[int, list[list[list[bytes]]]] = {i: [] for i in range(NUM_USERS)}

    def note(i: int) -> None:
        allowed[i].append([world.oracle(i, image) for image in range(NUM_IMAGES)])

    for i in range(NUM_USERS):
        note(i)
    failures: list[str] = []
    done = threading.Event()

    def ask() -> None:
        predictor = world.predictor()
        while not done.is_set():
            items = predictor.answer(world.targets(pairs)).items
            for i in range(NUM_USERS):
                got = [bits(item) for item in items[i * NUM_IMAGES : (i + 1) * NUM_IMAGES]]
                if got not in allowed[i]:
                    failures.append(f"user {i}")

    thread = threading.Thread(target=ask)
    thread.start()
    for seed in range(100, 120):
        i = seed % (NUM_USERS - 1)
        with world.database.session() as session:
            world.set_adapter(session, i, seed)
            note(i)  # allowed before it can be seen
    done.set()
    thread.join(60)
    assert failures == []


# --- contents of an answer


def test_answer_names_the_version_that_gave_it(world: World) -> None:
    answer = world.predictor().answer(world.targets([(0, 0), (NUM_USERS - 1, 0)]))
    personal, generic = answer.items
    adapter = world.adapters[0]
    assert adapter is not None
    assert answer.base_model.digest == world.base.digest
    assert (personal.source, personal.source_reason) == ("adapter", "active_adapter")
    assert personal.adapter is not None
    assert (personal.adapter.number, personal.adapter.digest) == (1, adapter.digest)
    assert (generic.source, generic.source_reason, generic.adapter) == ("base", "no_adapter", None)
    assert generic.scores == generic.generic == personal.generic
    assert personal.scores != personal.generic
    assert list(personal.scores or {}) == list(ASPECTS)


def test_every_scored_item_has_a_receipt_of_its_scores(world: World) -> None:
    items = world.predictor().answer(world.targets([(0, 0), (0, 0), (NUM_USERS - 1, 3)])).items
    assert world.num_rows_of_receipts() == 0
    for item, row in zip(items, keep(world.database, items), strict=True):
        assert row is not None
        assert (row.user_id, row.image_id, row.base_model_id) == (item.user_id, item.image_id, world.base_row.id)
        assert row.scores == item.scores
        assert row.adapter_id == (item.adapter.id if item.adapter else None)


def test_rolled_back_user_gets_the_old_bits(world: World) -> None:
    predictor = world.predictor()
    before = bits(predictor.answer(world.targets([(0, 0)])).items[0])
    with world.database.session() as session:
        old = session.execute(sa.select(AdapterRow.id).where(AdapterRow.user_id == world.users[0])).scalar_one()
        world.set_adapter(session, 0, seed=77)
    assert bits(predictor.answer(world.targets([(0, 0)])).items[0]) != before
    with world.database.session() as session:
        session.execute(sa.update(AdapterRow).values(state=AdapterState.RETIRED))
        session.execute(sa.update(AdapterRow).where(AdapterRow.id == old).values(state=AdapterState.ACTIVE))
    assert bits(predictor.answer(world.targets([(0, 0)])).items[0]) == before


def test_adapter_for_another_base_model_is_not_mixed_in(world: World) -> None:
    """After a new base model, users with versions for the old one get generic scores with that reason."""
    newer = tiny_base(ASPECTS, seed=1)
    with world.database.session() as session:
        base_models.register(session, world.blobs, newer, {}, {})
    item = world.predictor().answer(world.targets([(0, 0)])).items[0]
    generic_A = newer.generic(newer.project(world.features_ID[:1]))[0]
    assert bits(item) == [value.tobytes() for value in generic_A]
    assert (item.source, item.source_reason, item.adapter) == ("base", "adapter_of_another_base_model", None)
    [row] = keep(world.database, [item])
    assert (row.adapter_id, row.base_model_id == world.base_row.id) == (None, False)


def test_image_without_features_is_pending_with_its_job(world: World) -> None:
    with world.database.session() as session:
        waiting = make_image(session).id
    answer = world.predictor().answer([Target(world.users[0], waiting), *world.targets([(0, 0)])])
    pending, scored = answer.items
    with world.database.read_session() as session:
        job = session.execute(sa.select(JobRow)).scalar_one()
    assert pending == Prediction(world.users[0], waiting, "pending", job_id=job.id, retry_after_s=2)
    assert (scored.status, answer.num_pending) == ("scored", 1)
    assert scored.receipt is not None


def test_who_waits_for_features_that_a_queued_job_will_extract_writes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hundreds of requests may wait for one image, and everybody who writes would wait for them on SQLite."""
    with world.database.session() as session:
        waiting = make_image(session).id
    predictor, target = world.predictor(), Target(world.users[0], waiting)
    [first] = predictor.answer([target]).items
    monkeypatch.setattr(world.database, "session", None)
    assert predictor.request_missing([target])
    assert predictor.answer([target]).items == [first]
    monkeypatch.undo()
    with world.database.session() as session:
        session.execute(sa.update(JobRow).values(state=JobState.RUNNING))
    [second] = predictor.answer([target]).items
    assert second.job_id not in (first.job_id, None), "a job that runs may have begun before the image was there"


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (None, "OSError: broken", "OSError: broken"),
        (np.full(FEATURE_DIM, np.nan, np.float16).tobytes(), None, "not finite"),
        (bytes(10), None, f"10 bytes, not {FEATURE_DIM} float16 numbers"),
    ],
)
def test_image_that_cannot_be_scored_says_why_and_harms_no_other(
    world: World, data: bytes | None, error: str | None, message: str
) -> None:
    with world.database.session() as session:
        broken = make_image(session).id
        world.add_features(session, broken, data, error=error)
    items = world.predictor().answer([Target(world.users[0], broken), *world.targets([(0, 0)])]).items
    assert [item.status for item in items] == ["failed", "scored"]
    assert message in str(items[0].error)
    assert (items[0].scores, items[0].receipt) == (None, None)
    assert bits(items[1]) == world.oracle(0, 0)


def test_pending_image_is_scored_once_its_features_are_there(world: World) -> None:
    predictor = world.predictor()
    with world.database.session() as session:
        image_id = make_image(session).id
    target = [Target(world.users[0], image_id)]
    assert predictor.request_missing(target)
    assert predictor.still_missing({t.image_id for t in target})
    with world.database.session() as session:
        world.add_features(session, image_id, world.features_ID[5].tobytes())
    assert not predictor.still_missing({t.image_id for t in target})
    assert not predictor.request_missing(target)
    assert bits(predictor.answer(target).items[0]) == world.oracle(0, 5)


# --- caches


def test_cache_spares_features_and_adapters_the_second_time(world: World) -> None:
    pairs = [(i, image) for i in range(NUM_USERS) for image in range(NUM_IMAGES)]
    predictor = world.predictor()
    assert predictor.signer  # the key of receipts is read once in a process
    first, first_queries = _counted(world, lambda: predictor.answer(world.targets(pairs)).items)
    second, second_queries = _counted(world, lambda: predictor.answer(world.targets(pairs)).items)
    assert [bits(item) for item in first] == [bits(item) for item in second]
    # Active versions, default base model; the first time its row, versions, features.
    assert (first_queries, second_queries) == (5, 2)


def _counted(world: World, act: Callable[[], list[Prediction]]) -> tuple[list[Prediction], int]:
    """The result of `act`, and its number of statements, without transaction control."""
    statements: list[str] = []
    execute = Prepared.rows

    def noted(self: Prepared, connection: sa.Connection, **values: Any) -> list[Any]:
        statements.append("prepared")
        return execute(self, connection, **values)

    def note(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        statements.append(statement)

    sa.event.listen(world.database.engine, "before_cursor_execute", note)
    Prepared.rows = noted  # type: ignore[method-assign]
    try:
        return act(), len([s for s in statements if not s.startswith("BEGIN")])
    finally:
        sa.event.remove(world.database.engine, "before_cursor_execute", note)
        Prepared.rows = execute  # type: ignore[method-assign]


def test_scores_are_right_when_the_cache_holds_next_to_nothing(world: World) -> None:
    predictor = world.predictor()
    predictor._store._images.max_bytes = 1000
    pairs = [(0, image) for image in range(NUM_IMAGES)]
    for _ in range(2):
        items = predictor.answer(world.targets(pairs)).items
        assert [bits(item) for item in items] == [world.oracle(*pair) for pair in pairs]
    assert predictor._store._images.size_bytes <= 1000


# --- errors


def test_without_a_base_model_predictions_are_unavailable(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    predictor = Predictor(database, BlobStore(tmp_path.as_uri()), settings)
    with pytest.raises(Unavailable, match="base-models train"):
        predictor.answer([Target(new_id(), new_id())])


@pytest.mark.parametrize("change", [{"data": b"rubbish"}, {"digest": "0" * 64}])
def test_damaged_adapter_is_an_error_never_the_base_score(world: World, change: dict[str, object]) -> None:
    with world.database.session() as session:
        session.execute(sa.update(AdapterRow).where(AdapterRow.user_id == world.users[0]).values(**change))
    items = world.predictor().answer(world.targets([(0, 0), (1, 0), (0, 1), (6, 0)])).items
    assert [item.status for item in items] == ["failed", "scored", "failed", "scored"]
    assert [(items[i].scores, items[i].receipt) for i in (0, 2)] == [(None, None)] * 2
    assert "damaged" in str(items[0].error)
    assert [bits(items[i]) for i in (1, 3)] == [world.oracle(1, 0), world.oracle(6, 0)]
    assert all(items[i].receipt is not None for i in (1, 3))


def test_damaged_prior_costs_the_confidence_not_the_scores(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(*_: object) -> Any:
        raise Damaged("the prior is damaged")

    wanted = TastePriorRow(digest="p" * 64)
    monkeypatch.setattr(serving_store, "_prior_digests", lambda _: {"p" * 64})
    monkeypatch.setattr(serving_store, "_prior_rows", lambda *_: ([wanted], []))
    monkeypatch.setattr(serving_store.taste_priors, "load", damaged)
    [item] = world.predictor().answer(world.targets([(1, 0)]), with_confidence=True).items
    assert (bits(item), item.confidence) == (world.oracle(1, 0), None)


def test_damaged_features_are_never_served_and_are_extracted_again(world: World) -> None:
    key = (world.base.extractor_digest, world.images[0])
    with world.database.session() as session:
        row = session.get_one(FeaturesRow, key)
        good = row.data
        assert good is not None
        row.data = good[:-1] + bytes([good[-1] ^ 0x40])
    pairs = [(1, 0), (1, 1), (2, 0)]
    answer = world.predictor().answer(world.targets(pairs))
    assert [item.status for item in answer.items] == ["pending", "scored", "pending"]
    assert bits(answer.items[1]) == world.oracle(1, 1)
    with world.database.read_session() as session:
        assert session.get(FeaturesRow, key) is None
        job = session.get_one(JobRow, answer.items[0].job_id)
        assert (job.kind, job.state) == (JobKind.EXTRACT_FEATURES, JobState.QUEUED)
    with world.database.session() as session:  # what the worker does
        world.add_features(session, world.images[0], good)
    healed = world.predictor().answer(world.targets(pairs)).items
    assert [bits(item) for item in healed] == [world.oracle(*pair) for pair in pairs]


def test_adapter_filed_under_the_wrong_base_model_is_an_error(world: World) -> None:
    adapter = random_adapter("taste_vector", 1, base_digest="f" * 64)
    with world.database.session() as session:
        session.execute(
            sa.update(AdapterRow)
            .where(AdapterRow.user_id == world.users[0])
            .values(data=adapter.to_bytes(), digest=adapter.digest)
        )
    [item] = world.predictor().answer(world.targets([(0, 0)])).items
    assert (item.status, item.scores) == ("failed", None)
    assert "made for base model" in str(item.error)


@pytest.mark.parametrize("table", [UserRow, ImageRow])
def test_who_is_erased_between_two_calls_is_not_found(world: World, table: type[UserRow | ImageRow]) -> None:
    """Whatever the process has cached, who and what exists is read for every call."""
    app = Principal("app", KeyScope.APPLICATION, application=APPLICATION)
    predictor = world.predictor()
    wanted = [("u1", world.images[0]), ("u2", world.images[1])]
    assert len(predictor.answer_references(app, wanted).items) == 2
    gone = {UserRow: world.users[1], ImageRow: world.images[0]}[table]
    with world.database.session() as session:
        session.execute(sa.delete(table).where(table.id == gone))
    with pytest.raises(NotFound, match="does not exist"):
        predictor.answer_references(app, wanted)


def test_receipt_of_what_is_erased_has_no_row(world: World) -> None:
    items = world.predictor().answer(world.targets([(1, 0), (2, 1), (3, 2)])).items
    with world.database.session() as session:
        session.execute(sa.delete(ImageRow).where(ImageRow.id == world.images[0]))
        session.execute(sa.delete(AdapterRow).where(AdapterRow.user_id == world.users[2]))
    rows = keep(world.database, items)
    assert [row is not None for row in rows] == [False, False, True]


# --- many references at once


APP = Principal("app", KeyScope.APPLICATION, application=APPLICATION)


def test_references_are_answered_as_targets_are(world: World) -> None:
    wanted = [("u3", world.images[1]), (str(world.users[0]), world.images[0]), ("u3", world.images[1])]
    of_references = world.predictor().answer_references(APP, wanted).items
    of_targets = world.predictor().answer(world.targets([(3, 1), (0, 0), (3, 1)])).items
    assert [(i.user_id, i.image_id, bits(i)) for i in of_references] == [
        (i.user_id, i.image_id, bits(i)) for i in of_targets
    ]


def test_user_who_is_named_by_id_and_by_name_has_all_items_in_their_places(world: World) -> None:
    wanted = [
        ("u0", world.images[0]),
        ("u3", world.images[1]),
        (str(world.users[0]), world.images[2]),
        ("u0", world.images[1]),
    ]
    of_references = world.predictor().answer_references(APP, wanted).items
    of_targets = world.predictor().answer(world.targets([(0, 0), (3, 1), (0, 2), (0, 1)])).items
    assert [(i.user_id, i.image_id, bits(i)) for i in of_references] == [
        (i.user_id, i.image_id, bits(i)) for i in of_targets
    ]


def test_users_who_share_a_list_of_images_are_answered_as_alone(world: World) -> None:
    """With an image that has no features: the others of the list are scored."""
    with world.database.session() as session:
        waiting = make_image(session).id
    image_ids = [world.images[1], waiting, world.images[0]]
    users = [f"u{i}" for i in range(NUM_USERS)]
    asked = [(user, image_ids, range(3 * n, 3 * n + 3)) for n, user in enumerate(users)]
    together = world.predictor().answer_asked(APP, asked).items
    alone = [world.predictor().answer_references(APP, [(user, i)]).items[0] for user in users for i in image_ids]
    assert [(i.user_id, i.image_id, i.status) for i in together] == [(i.user_id, i.image_id, i.status) for i in alone]
    scored = [(ours, other) for ours, other in zip(together, alone, strict=True) if ours.status == "scored"]
    assert len(scored) == 2 * NUM_USERS
    for ours, other in scored:
        assert bits(ours) == bits(other)
    signer = world.predictor().signer
    for item in (ours for ours, _ in scored):
        assert item.receipt is not None
        receipt = signer.read(item.user_id, item.receipt)
        assert (receipt.image_id, receipt.adapter_id) == (item.image_id, item.adapter.id if item.adapter else None)


def test_references_that_somebody_may_not_see_do_not_exist(world: World) -> None:
    with world.database.session() as session:
        stranger, foreign = make_user(session, application="other"), make_image(session, application="other")
        private = make_image(session, owner_id=world.users[1]).id
        named_as_id = make_user(session, application="other", external_id=str(new_id()))
    user_key = Principal("u0", KeyScope.USER, application=APPLICATION, user_id=world.users[0])
    cases = [
        (APP, (str(stranger.id), world.images[0])),
        (APP, (named_as_id.external_id, world.images[0])),
        (APP, ("u0", foreign.id)),
        (user_key, ("u1", world.images[0])),
        (user_key, (str(world.users[1]), world.images[0])),
        (user_key, ("u0", private)),
    ]
    for principal, pair in cases:
        with pytest.raises(NotFound):
            world.predictor().answer_references(principal, [("u0", world.images[1]), pair])
    assert world.predictor().answer_references(user_key, [("u0", world.images[1])]).items[0].status == "scored"
    assert world.predictor().answer_references(APP, [("u1", private)]).items[0].status == "pending"
    with pytest.raises(NotFound, match="in application"):
        world.predictor().answer_references(OPERATOR, [(str(stranger.id), world.images[0])])


def test_number_of_queries_does_not_depend_on_the_number_of_items(world: World) -> None:
    predictor = world.predictor()
    wanted = [(f"u{i}", image) for i in range(NUM_USERS) for image in world.images]
    for _ in range(2):  # images are projected first, and then users are kept
        predictor.answer_references(APP, wanted)
    for some in (wanted[:1], wanted):
        _, num_queries = _counted(world, lambda some=some: predictor.answer_references(APP, some).items)
        assert num_queries == 1  # what has changed, images, default base model


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_statements_of_every_call_are_answered_by_keys(database: Database, settings: Settings) -> None:
    """Not by all versions that a user ever had, nor by all images of the application."""
    with database.read_connection() as connection:

        def plan(prepared: Prepared) -> str:
            text, _, order = prepared._compile(connection.dialect)
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", ("[]",) * len(order or ())).all()
            return " ".join(row[3] for row in rows)

        for prepared in (active_versions._BY_NAME, active_versions._BY_ID, active_versions._OF_USERS):
            assert "COVERING INDEX ix_adapters_active (user_id=?)" in plan(prepared)
        for prepared in (images._NUM_OF_APPLICATION, images._NUM_OF_USER):
            assert "sqlite_autoindex_images_1 (id=?)" in plan(prepared)
        known = ServingStore(database, BlobStore("memory://"), settings)._changes._since
        for part in ("INTEGER PRIMARY KEY (rowid>?)", "sqlite_autoindex_images_1 (id=?)"):
            assert part in plan(known)


# --- resolve


def test_names_are_resolved_in_the_order_asked(world: World) -> None:
    app = Principal("app", KeyScope.APPLICATION, application=APPLICATION)
    wanted = [("u3", world.images[1]), (str(world.users[0]), world.images[0]), ("u3", world.images[1])]
    assert world.predictor().resolve(app, wanted) == world.targets([(3, 1), (0, 0), (3, 1)])


def test_unknown_user_or_image_is_named(world: World) -> None:
    app = Principal("app", KeyScope.APPLICATION, application=APPLICATION)
    ghost = new_id()
    for wanted, message in [(("ghost", world.images[0]), "user 'ghost'"), (("u0", ghost), f"image {ghost}")]:
        with pytest.raises(NotFound, match=message):
            world.predictor().resolve(app, [("u1", world.images[1]), wanted])


def test_another_applications_users_and_images_do_not_exist(world: World) -> None:
    with world.database.session() as session:
        user, image = make_user(session, application="other"), make_image(session, application="other")
    app = Principal("app", KeyScope.APPLICATION, application=APPLICATION)
    for wanted in [(str(user.id), world.images[0]), ("u0", image.id)]:
        with pytest.raises(NotFound):
            world.predictor().resolve(app, [wanted])
    with pytest.raises(NotFound, match="in application"):  # an admin sees both, but they do not belong together
        world.predictor().resolve(OPERATOR, [(str(user.id), world.images[0])])


def test_user_key_cannot_ask_for_a_neighbour_nor_their_pictures(world: World) -> None:
    with world.database.session() as session:
        private = make_image(session, owner_id=world.users[1]).id
    ada = Principal("ada", KeyScope.USER, application=APPLICATION, user_id=world.users[0])
    assert world.predictor().resolve(ada, [("u0", world.images[0])]) == world.targets([(0, 0)])
    for wanted in [("u1", world.images[0]), ("u0", private)]:
        with pytest.raises(NotFound):
            world.predictor().resolve(ada, [wanted])
