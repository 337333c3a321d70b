"""Rankings: one user's order, beside the generic one."""

from __future__ import annotations

from uuid import UUID

import numpy as np
import pytest

from paaplus.db.engine import Database
from paaplus.db.tables import AdapterRow, UserRow
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.errors import InvalidInput, NotFound, Unavailable
from paaplus.ids import new_id
from paaplus.scoring.adapters import TasteVector
from paaplus.services.images.filters import ImageFilter
from paaplus.services.predictions.answers import Target
from paaplus.services.predictions.predict import Predictor
from paaplus.services.predictions.rankings import Ranking, Wanted, rank
from paaplus.services.registry import base_models
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore
from tests.support.factories import make_adapter, make_features, make_feedback, make_image, make_user
from tests.support.tiny import FEATURE_DIM, TASTE_DIM, tiny_base

NUM = 12


class World:
    """Ada, with twelve shared images of which the last has no features, and a version of her own."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.database, self.settings = database, settings
        self.base = tiny_base()
        blobs = BlobStore(settings.resolved_storage_url)
        self.predictor = Predictor(database, blobs, settings)
        self.features_ND = np.random.default_rng(1).normal(size=(NUM - 1, FEATURE_DIM)).astype(np.float16)
        with database.session() as session:
            self.base_row = base_models.register(session, blobs, self.base, {}, {})
            self.ada = make_user(session, external_id="ada").id
            self.bob = make_user(session, external_id="bob").id
            self.images = [
                make_image(
                    session, name=f"{'ab'[i % 2]}/{i}.jpg", external_id=f"own-{i}", theme="sea" if i < 4 else None
                ).id
                for i in range(NUM)
            ]
            for image_id, features_D in zip(self.images, self.features_ND, strict=False):
                self.extract(session, image_id, features_D)

    def extract(self, session, image_id: UUID, features_D: np.ndarray) -> None:
        digest = self.base.extractor_digest
        make_features(session, image_id=image_id, extractor_digest=digest, data=features_D.tobytes())

    def adapter(self, user_id: UUID) -> AdapterRow:
        weight_RA = np.random.default_rng(2).normal(size=(TASTE_DIM, 1)).astype(np.float32)
        adapter = TasteVector(self.base.digest, np.ones(1, np.float32), np.zeros(1, np.float32), weight_RA)
        with self.database.session() as session:
            user = session.get_one(UserRow, user_id)
            data = {"data": adapter.to_bytes(), "digest": adapter.digest}
            return make_adapter(session, user, base_model_id=self.base_row.id, **data)

    def rank(self, user_id: UUID | None = None, **wanted) -> Ranking:
        return rank(
            self.database, self.predictor.store, self.settings, Wanted(user_id or self.ada, **{"top": 100} | wanted)
        )


@pytest.fixture
def world(database: Database, settings: Settings) -> World:
    return World(database, settings)


def test_scores_and_ranks_are_those_of_predictions(world: World) -> None:
    world.adapter(world.ada)
    ranking = world.rank()
    assert (ranking.num_ranked, ranking.num_pending, ranking.num_failed, ranking.is_complete) == (NUM - 1, 1, 0, True)
    assert (ranking.source, ranking.source_reason, ranking.aspect) == ("adapter", "active_adapter", "beauty")
    targets = [Target(world.ada, item.image_id) for item in ranking.items]
    predicted = world.predictor.answer(targets, with_receipts=False).items
    assert [item.score for item in ranking.items] == [each.scores["beauty"] for each in predicted if each.scores]
    assert [item.generic_score for item in ranking.items] == [
        each.generic["beauty"] for each in predicted if each.generic
    ]
    assert [item.score for item in ranking.items] == sorted((item.score for item in ranking.items), reverse=True)
    assert [item.rank for item in ranking.items] == list(range(1, NUM))
    by_generic = sorted(ranking.items, key=lambda item: -item.generic_score)
    assert [item.generic_rank for item in by_generic] == list(range(1, NUM))
    assert by_generic != ranking.items
    assert [item.image_id for item in world.rank(top=3).items] == [item.image_id for item in ranking.items[:3]]


def test_without_a_version_the_order_is_the_generic_one_and_says_so(world: World) -> None:
    ranking = world.rank(world.bob)
    assert (ranking.source, ranking.source_reason, ranking.adapter) == ("base", "no_adapter", None)
    assert all(item.rank == item.generic_rank and item.score == item.generic_score for item in ranking.items)


def test_images_are_named_by_either_id_and_own_ones_come_first(world: World) -> None:
    with world.database.session() as session:
        private = make_image(session, owner_id=world.ada, external_id="own-0").id
        world.extract(session, private, world.features_ND[3])
        of_bob = make_image(session, owner_id=world.bob, external_id="of-bob").id
    refs = ["own-0", "own-1", str(world.images[1]), str(world.images[2])]
    assert {item.image_id for item in world.rank(images=refs).items} == {private, world.images[1], world.images[2]}
    assert {item.image_id for item in world.rank(world.bob, images=refs).items} == set(world.images[:3])
    for ref in ("of-bob", str(of_bob), str(new_id()), "nothing"):
        with pytest.raises(NotFound, match=ref):
            world.rank(images=[ref])
    assert private in {item.image_id for item in world.rank().items}
    assert of_bob not in {item.image_id for item in world.rank().items}


def test_filters_and_the_answers_of_the_user(world: World) -> None:
    with world.database.session() as session:
        ada = session.get_one(UserRow, world.ada)
        for n, value in ((0, 7), (1, 1), (2, 4)):
            make_feedback(
                session,
                ada,
                image_id=world.images[n],
                payload={"ratings": {"beauty": value}, "scale": {"min": 1, "max": 7}},
            )
        make_feedback(session, ada, image_id=world.images[3], kind=FeedbackKind.BINARY, payload={"liked": True})
        make_feedback(session, ada, image_id=None, kind=FeedbackKind.RETRACTION, payload={}, retracts_sequence=2)
    answers = {item.image_id: (item.rating, item.liked) for item in world.rank().items}
    assert [answers[image_id] for image_id in world.images[:5]] == [
        (10.0, None),
        (None, None),
        (5.0, None),
        (None, True),
        (None, None),
    ]
    unrated = world.rank(only_unrated=True)
    assert {item.image_id for item in unrated.items} == {world.images[1], *world.images[4:-1]}
    assert [item.rank for item in unrated.items] == list(range(1, unrated.num_ranked + 1))
    assert {item.image_id for item in world.rank(filter=ImageFilter(theme="sea")).items} == set(world.images[:4])
    folder = world.rank(filter=ImageFilter(name_prefix="a/"))
    assert {item.name for item in folder.items} == {f"a/{n}.jpg" for n in range(0, NUM - 1, 2)}


def test_diverse_images_come_from_the_top_and_differ(world: World) -> None:
    """Ten copies of the best image, and others: one copy is enough."""
    best = world.rank().items[0]
    with world.database.session() as session:
        for _ in range(10):
            copy = make_image(session).id
            world.extract(session, copy, world.features_ND[world.images.index(best.image_id)])
    plain, diverse = world.rank(top=5), world.rank(top=5, diverse=True)
    assert {item.score for item in plain.items} == {best.score}
    assert diverse.items[0].score == best.score
    assert len({item.score for item in diverse.items}) >= 4
    assert len({item.image_id for item in world.rank(top=100, diverse=True).items}) == NUM - 1 + 10


def test_what_cannot_be_ranked_is_refused(world: World) -> None:
    for wrong in ({"top": 0}, {"top": 1001}, {"aspect": "loudness"}):
        with pytest.raises(InvalidInput):
            world.rank(**wrong)
    world.settings = world.settings.model_copy(update={"max_ranking_images": 5})
    with pytest.raises(InvalidInput, match="at most 5"):
        world.rank(images=[str(image_id) for image_id in world.images])
    newest = world.rank()
    assert (newest.is_complete, newest.num_ranked, newest.num_pending) == (False, 4, 1)
    assert world.rank(images=[]).items == []
    with pytest.raises(NotFound):
        world.rank(new_id())
    with world.database.session() as session:
        session.get_one(AdapterRow, world.adapter(world.ada).id).data = b"changed"
    with pytest.raises(Unavailable, match="damaged"):
        world.rank()
