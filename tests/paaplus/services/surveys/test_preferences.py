"""Users' preferences: set, encoded from a survey, deleted; and the shift of the prior."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import numpy as np
import pytest
import sqlalchemy as sa

from paaplus.db.engine import Database
from paaplus.db.tables import PreferenceEncoderRow, PreferenceRow, SurveyRow, UserRow
from paaplus.db.tables.users import DueReason
from paaplus.errors import InvalidInput, NotFound, Unavailable
from paaplus.ids import new_id
from paaplus.scoring.preference import PreferenceEncoder
from paaplus.services.operations import erasures
from paaplus.services.surveys import answers as survey_answers
from paaplus.services.surveys import forms, preference_encoders, preferences, surveys
from paaplus.services.users import users
from paaplus.settings import Settings
from tests.support.deployment import Deployment
from tests.support.factories import APPLICATION
from tests.support.tiny import frame_base, tiny_base

WISH = [0.1, 0.9, 0.4, 0.7, 0.2]


@pytest.fixture
def deployment(database: Database, settings: Settings) -> Deployment:
    """On a base model whose scores take five values of a preference."""
    return Deployment(database, settings, num_images=40, base=frame_base(("posture",)))


@pytest.fixture
def plain(database: Database, settings: Settings) -> Deployment:
    """On one whose scores take none."""
    return Deployment(database, settings, num_images=40)


def give(deployment: Deployment, user: UUID, preference: list[float]) -> tuple[PreferenceRow, int]:
    with deployment.database.session() as session:
        return preferences.give(
            session, deployment.blobs, user, preference, actor="admin", settings=deployment.settings
        )


def forget(deployment: Deployment, user: UUID) -> None:
    with deployment.database.session() as session:
        preferences.forget(session, deployment.blobs, user, actor="admin", settings=deployment.settings)


def of(deployment: Deployment, user: UUID) -> tuple[list[float], int] | None:
    with deployment.database.read_session() as session:
        return preferences.preference_of(session, user)


def survey(deployment: Deployment) -> SurveyRow:
    pair = {"id": "pair", "kind": "image_pair", "text": "?", "first": str(deployment.images[0]),
            "second": str(deployment.images[1]), "aspect": deployment.base.aspects[0], "optional": True}  # fmt: skip
    scale = {"id": "people", "kind": "scale", "text": "?", "min": 1, "max": 7}
    with deployment.database.session() as session:
        row, _ = surveys.create(
            session,
            application=APPLICATION,
            name="first",
            domain="photographs",
            form={"title": "t", "items": [scale, pair]},
            actor="admin",
        )
        return row


def encoder(deployment: Deployment, row: SurveyRow, strength: float = 1.0, dim: int = 5) -> PreferenceEncoder:
    rng = np.random.default_rng(0)
    num_regressors = deployment.base.taste_dim + 2
    return PreferenceEncoder(
        deployment.base.digest,
        tuple(forms.columns(forms.parse(row.form))),
        mean_Q=np.array([4, 0], np.float32),
        scale_Q=np.array([2, 1], np.float32),
        weight_QF=strength * rng.normal(size=(2, dim)).astype(np.float32),
        shift_FPA=strength * rng.normal(size=(dim, num_regressors, 1)).astype(np.float32),
    )


def register(
    deployment: Deployment, row: SurveyRow, made: PreferenceEncoder, user_ids: tuple[UUID, ...] = ()
) -> PreferenceEncoderRow:
    with deployment.database.session() as session:
        encoder_row = preference_encoders.register(
            session, made, row, deployment.base_row, metrics={"num_people": 50}, user_ids=user_ids, actor="admin"
        )
        preferences.encode_everybody(session, deployment.blobs, row, deployment.base_row)
        return encoder_row


def answer(deployment: Deployment, user: UUID, answers: dict[str, Any]) -> None:
    with deployment.database.session() as session:
        survey_answers.answer(session, deployment.blobs, user, "first", answers, settings=deployment.settings)


def shift(deployment: Deployment, user: UUID) -> preferences.Shift | None:
    with deployment.database.read_session() as session:
        return preferences.shift_of(session, deployment.user(user), deployment.base_row)


def test_preference_counts_its_changes_and_goes_when_it_is_taken_back(deployment: Deployment) -> None:
    anna = deployment.add_user()
    assert of(deployment, anna) is None
    assert (give(deployment, anna, WISH)[1], of(deployment, anna)) == (5, (WISH, 1))
    give(deployment, anna, WISH)
    assert of(deployment, anna) == (WISH, 1)
    give(deployment, anna, WISH[::-1])
    assert of(deployment, anna) == (WISH[::-1], 2)
    for _ in range(2):
        forget(deployment, anna)
        assert of(deployment, anna) is None


def test_preference_that_does_not_fit_changes_nothing(deployment: Deployment) -> None:
    anna = deployment.add_user()
    give(deployment, anna, WISH)
    for wrong in ([], [0.5] * 4, [0.5] * 65, [*WISH[:4], 1.1], [*WISH[:4], float("nan")], [*WISH[:4], -0.1]):
        with pytest.raises(InvalidInput, match="preference"):
            give(deployment, anna, wrong)
    for act in (lambda: give(deployment, new_id(), WISH), lambda: forget(deployment, new_id())):
        with pytest.raises(NotFound):
            act()
    assert of(deployment, anna) == (WISH, 1)


def test_base_model_without_a_preference_ignores_it_and_reports_that(plain: Deployment) -> None:
    anna = plain.add_user()
    plain.rate(anna, range(20))
    plain.work()
    assert give(plain, anna, [0.2, 0.8])[1] == 0
    assert of(plain, anna) == ([0.2, 0.8], 1)
    assert plain.user(anna).due_reason != DueReason.NEW_PREFERENCE
    before = plain.scores(anna)
    plain.rate(anna, range(20, 40))
    plain.work()
    assert plain.versions(anna)[-1].preference is None
    assert plain.versions(anna)[-1].parent_id == plain.versions(anna)[0].id  # the lineage goes on
    assert before.shape == plain.scores(anna).shape


def test_changed_preference_makes_users_with_a_version_due(deployment: Deployment) -> None:
    anna, ben = deployment.add_user("anna"), deployment.add_user("ben")
    deployment.rate(anna, range(38))
    deployment.work()
    for user in (anna, ben):
        give(deployment, user, WISH)
    assert deployment.user(anna).due_reason == DueReason.NEW_PREFERENCE
    assert deployment.user(ben).due_reason is None
    deployment.rate(anna, range(38, 40))  # too few to make anna due: the earlier reason is kept
    assert deployment.queued_reason(anna) == DueReason.NEW_PREFERENCE
    assert deployment.work() == 1
    assert deployment.work() == 0  # once is enough
    assert deployment.versions(anna)[-1].preference == WISH
    give(deployment, anna, WISH)
    assert deployment.user(anna).due_reason != DueReason.NEW_PREFERENCE


def test_paused_user_is_made_due_when_the_pause_ends(deployment: Deployment) -> None:
    anna = deployment.add_user()
    deployment.rate(anna, range(20))
    deployment.work()
    with deployment.database.session() as session:
        session.get(UserRow, anna).policy = {"paused": True}
    give(deployment, anna, WISH)
    assert deployment.user(anna).next_due_at is None
    assert deployment.work() == 0
    with deployment.database.session() as session:
        users.set_policy(session, anna, {}, actor="test")
    deployment.work()
    assert deployment.versions(anna)[-1].preference == WISH


def test_answers_become_the_preference_if_an_encoder_is_in_force(deployment: Deployment) -> None:
    row, anna = survey(deployment), deployment.add_user()
    answer(deployment, anna, {"people": 6})
    assert of(deployment, anna) is None
    made = encoder(deployment, row)
    register(deployment, row, made)
    expected = made.encode(np.array([6, np.nan])).tolist()
    assert of(deployment, anna) == (expected, 1)  # earlier answers are encoded too
    answer(deployment, anna, {"people": 2})
    assert of(deployment, anna) == (made.encode(np.array([2, np.nan])).tolist(), 2)
    answer(deployment, anna, {"people": 2})
    assert of(deployment, anna)[1] == 2


def test_encoders_are_numbered_and_retired_and_preferences_follow(deployment: Deployment) -> None:
    row, anna, ben = survey(deployment), deployment.add_user("anna"), deployment.add_user("ben")
    answer(deployment, anna, {"people": 6})
    answer(deployment, ben, {"people": 6})
    give(deployment, ben, WISH)
    first_made, second_made = encoder(deployment, row), encoder(deployment, row, 0.5)
    first, second, again = (register(deployment, row, made) for made in (first_made, second_made, second_made))
    assert (first.version, second.version, again.id) == (1, 2, second.id)
    answers_Q = np.array([6, np.nan])
    assert of(deployment, anna) == (second_made.encode(answers_Q).tolist(), 2)
    for version, expected in ((2, first_made.encode(answers_Q).tolist()), (1, None)):
        with deployment.database.session() as session:
            preference_encoders.retire(session, row, deployment.base_row.id, version, actor="admin")
            preferences.encode_everybody(session, deployment.blobs, row, deployment.base_row)
        found = of(deployment, anna)
        assert (found[0] if found else None) == expected
    assert of(deployment, ben) == (WISH, 1)  # set by the application: no encoder changes it
    with deployment.database.session() as session, pytest.raises(NotFound, match="version 3"):
        preference_encoders.retire(session, row, deployment.base_row.id, 3, actor="admin")


def test_encoder_of_something_else_is_refused(deployment: Deployment) -> None:
    row = survey(deployment)
    made = encoder(deployment, row)
    other_base = PreferenceEncoder(tiny_base().digest, made.columns, made.mean_Q, made.scale_Q, made.weight_QF,
                                   made.shift_FPA)  # fmt: skip
    with pytest.raises(InvalidInput, match="preference encoder of base"):
        register(deployment, row, other_base)
    other_columns = PreferenceEncoder(made.base_digest, ("a", "b"), made.mean_Q, made.scale_Q, made.weight_QF,
                                      made.shift_FPA)  # fmt: skip
    with pytest.raises(InvalidInput, match="other answers"):
        register(deployment, row, other_columns)


def test_shift_is_the_encoders_without_what_the_log_holds_already(deployment: Deployment) -> None:
    row, anna = survey(deployment), deployment.add_user()
    assert shift(deployment, anna) is None
    made = encoder(deployment, row)
    encoder_row = register(deployment, row, made)
    answer(deployment, anna, {"people": 6, "pair": "first"})
    found = shift(deployment, anna)
    preference_F = made.encode(np.array([6, np.nan]))
    np.testing.assert_array_equal(found.shift_PA, made.shift(preference_F))
    assert (found.preference, found.encoder_id) == (preference_F.tolist(), encoder_row.id)
    assert of(deployment, anna)[0] == made.encode(np.array([6.0, 1.0])).tolist()  # the preference includes pairs
    answer(deployment, anna, {"people": 4, "pair": "first"})
    assert shift(deployment, anna) is None  # the average answer
    answer(deployment, anna, {"people": 6})
    give(deployment, anna, WISH)
    assert shift(deployment, anna) is None  # set by the application: it gives no shift


def test_erasing_a_user_marks_the_encoders_learned_from_them(deployment: Deployment) -> None:
    row, anna, ben = survey(deployment), deployment.add_user("anna"), deployment.add_user("ben")
    answer(deployment, anna, {"people": 6})
    of_anna = register(deployment, row, encoder(deployment, row), (anna, ben))
    of_ben = register(deployment, row, encoder(deployment, row, 0.5), (ben,))
    with deployment.database.session() as session:
        url = deployment.settings.resolved_erasures_url
        erasures.erase(session, deployment.blobs, anna, actor="admin", erasures_url=url)
    with deployment.database.read_session() as session:
        stale = {each.id: each.stale_at is not None for each in preference_encoders.list_encoders(session)}
        assert session.execute(sa.select(PreferenceRow)).first() is None
    assert stale == {of_anna.id: True, of_ben.id: False}


def test_damaged_encoder_is_an_error(deployment: Deployment) -> None:
    row, anna = survey(deployment), deployment.add_user()
    register(deployment, row, encoder(deployment, row))
    answer(deployment, anna, {"people": 6})
    preference_encoders._loaded.clear()
    with deployment.database.session() as session:
        session.execute(sa.update(PreferenceEncoderRow).values(data=b"nothing"))
    with pytest.raises(Unavailable, match="cannot be read"):
        shift(deployment, anna)
    with deployment.database.session() as session:
        session.execute(sa.update(PreferenceEncoderRow).values(data=encoder(deployment, row, 0.5).to_bytes()))
    with pytest.raises(Unavailable, match="registered was"):
        shift(deployment, anna)
