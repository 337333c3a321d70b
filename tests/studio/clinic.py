"""An application with experts, labelled pictures, a survey and a user, for the studio's browser tests."""

from __future__ import annotations

from io import BytesIO
from typing import Any, Final
from uuid import UUID

from paaplus.db.tables.experts import ExpertForm
from paaplus.services.experts import experts
from paaplus.services.feedback import intake
from paaplus.services.feedback.intake import NewEvent
from paaplus.services.images import images, uploads
from paaplus.services.predictions.serving_store import ServingStore
from paaplus.services.reviews import batches, pseudo_labels
from paaplus.services.reviews.batches import NewBatch
from paaplus.services.surveys import surveys
from paaplus.services.users import users
from paaplus.services.users.keys import OPERATOR
from paaplus.storage.blobs import BlobStore
from paaplus.studio import tour
from paaplus.tools.tool import Judgement
from tests.studio.conftest import Studio
from tests.support.processes import wait_until

APPLICATION: Final = "clinic"
EXPERTS: Final = {"dr-night": "nora-night", "dr-land": "lena-landscape"}  # whose likings they have
SURVEY: Final = "first-look"


class Clinic:
    """Shared pictures that two experts have rated, labels for them to review, and a survey."""

    def __init__(self, studio: Studio, *, num_pictures: int = 20) -> None:
        self.studio = studio
        self.blobs = BlobStore(studio.settings.resolved_storage_url)
        self.pictures = tour.pictures()[:num_pictures]
        self.images = [self._add(picture) for picture in self.pictures]
        self.experts = {name: self._expert(name, liking) for name, liking in EXPERTS.items()}

    def user(self, name: str) -> UUID:
        return self.studio.user(name, APPLICATION)

    def expert_link(self, name: str) -> str:
        return self.studio.user_link(self.experts[name], as_expert=True)

    def wait_for_features(self) -> None:
        def are_there() -> bool:
            with self.studio.database.read_session() as session:
                states = images.feature_states(session, self.images, self.studio.settings)
            return all(state.state == "ready" for state in states.values())

        wait_until("the pictures have features", are_there, 600)

    def wait_for_experts(self) -> None:
        """Until both experts have a model, so that users can be matched."""

        def are_trained() -> bool:
            with self.studio.database.read_session() as session:
                return len(users.active_adapters(session, self.experts.values())) == len(self.experts)

        wait_until("the experts have models", are_trained, 600)

    def send_to_review(self, *names: str, number: int = 8, batch: str = "first round", overlap: float = 1.0) -> UUID:
        """Label pictures by a tool of the tests, and send them to experts."""
        database, settings = self.studio.database, self.studio.settings
        chosen = self.images[:number]
        labels = {
            image_id: Judgement({"beauty": 2.0 + 0.7 * (place % 9)}, {"beauty": 0.4})
            for place, image_id in enumerate(chosen)
        }
        with database.session() as session:
            pseudo_labels.add_precomputed(
                session, application=APPLICATION, tool="precomputed:first", version="1", labels=labels
            )
        new = NewBatch(
            APPLICATION,
            batch,
            tuple(str(self.experts[name]) for name in names),
            tools=("precomputed:first",),
            image_ids=tuple(chosen),
            overlap=overlap,
        )
        return batches.create(database, ServingStore(database, self.blobs, settings), OPERATOR, new).id

    def ask(self) -> None:
        """Make a survey with an item of every kind."""
        form: dict[str, Any] = {
            "title": "What do you like to look at?",
            "items": [
                {"id": "people", "kind": "scale", "text": "I like pictures of people", "min": 1, "max": 7,
                 "labels": {"1": "not at all", "7": "very much"}},
                {"id": "colour", "kind": "choice", "text": "Rather", "options": ["black and white", "colour"]},
                {"id": "years", "kind": "scale", "text": "For how many years have you taken photographs?", "min": 0,
                 "max": 80, "optional": True},
                {"id": "order", "kind": "ranking", "text": "Which do you like best?",
                 "options": ["the sea", "the city", "a wood"]},
                {"id": "pair", "kind": "image_pair", "text": "Which one would you hang on your wall?",
                 "first": str(self.images[0]), "second": str(self.images[1]), "aspect": "beauty"},
            ],
        }  # fmt: skip
        with self.studio.database.session() as session:
            surveys.create(session, application=APPLICATION, name=SURVEY, domain="photographs", form=form, actor="test")

    def _add(self, picture: tour.Picture) -> UUID:
        buffer = BytesIO()
        picture.load(640).save(buffer, "JPEG")
        return uploads.add(
            self.studio.database,
            self.blobs,
            self.studio.settings,
            application=APPLICATION,
            owner_id=None,
            data=buffer.getvalue(),
            name=f"{picture.name}.jpg",
        ).row.id

    def _expert(self, name: str, liking: str) -> UUID:
        user_id = self.studio.user(name, APPLICATION, gate={"min_order_odds": 1.0})
        with self.studio.database.session() as session:
            experts.register(
                session, user_id, name=name.title(), domain="photographs", form=ExpertForm.POOLED, actor="test"
            )
            likes = tour.LIKES[liking]
            events = [
                NewEvent(
                    index=place,
                    user_id=user_id,
                    event_id=f"e{place}",
                    kind=intake.kind_of("rating"),
                    payload={
                        "ratings": {
                            "beauty": min(5, max(1, round(3 + sum(likes.get(kind, 0.0) for kind in picture.contents))))
                        },
                        "scale": {"min": 1, "max": 5},
                    },
                    image_id=image_id,
                )
                for place, (picture, image_id) in enumerate(zip(self.pictures, self.images, strict=True))
            ]
            for result in intake.append(session, APPLICATION, events, source="test", settings=self.studio.settings):
                assert result.error is None
        return user_id
