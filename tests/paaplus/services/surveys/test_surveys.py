"""Surveys: versions, answers that supersede, and answers about image pairs in the feedback log."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import numpy as np
import pytest
import sqlalchemy as sa

from paaplus.db.engine import Database
from paaplus.db.tables import FeedbackRow, SurveyAnswersRow, SurveyRow
from paaplus.db.tables.experts import ExpertForm
from paaplus.errors import Conflict, InvalidInput, NotFound, TooMany
from paaplus.ids import new_id
from paaplus.services.experts import experts, survey_pairs
from paaplus.services.feedback import feedback_log
from paaplus.services.operations import erasures
from paaplus.services.surveys import answers as survey_answers
from paaplus.services.surveys import surveys
from paaplus.services.surveys.answers import Answered
from paaplus.services.users.keys import OPERATOR
from paaplus.settings import Settings
from tests.support.deployment import Deployment
from tests.support.factories import APPLICATION, make_image

SCALE = {"id": "people", "kind": "scale", "text": "People?", "min": 1, "max": 7}


@pytest.fixture
def deployment(database: Database, settings: Settings) -> Deployment:
    return Deployment(database, settings, num_images=12)


def form(deployment: Deployment, *pairs: tuple[int, int], title: str = "t") -> dict[str, Any]:
    items = [
        {"id": f"pair{i}", "kind": "image_pair", "text": "Better?", "first": str(deployment.images[first]),
         "second": str(deployment.images[second]), "aspect": "beauty", "optional": True}
        for i, (first, second) in enumerate(pairs)
    ]  # fmt: skip
    return {"title": title, "items": [SCALE, *items]}


def create(deployment: Deployment, document: Any, name: str = "first", **options: Any) -> tuple[SurveyRow, bool]:
    given = {"application": APPLICATION, "domain": "photographs"} | options
    with deployment.database.session() as session:
        return surveys.create(session, name=name, form=document, actor="admin", **given)


def answer(deployment: Deployment, user: UUID, answers: Any, name: str = "first", **options: Any) -> Answered:
    with deployment.database.session() as session:
        return survey_answers.answer(
            session, deployment.blobs, user, name, answers, settings=deployment.settings, **options
        )


def log(deployment: Deployment, user: UUID) -> feedback_log.FeedbackLog:
    with deployment.database.read_session() as session:
        return feedback_log.read(session, deployment.user(user), None)


def test_same_form_is_the_same_version_and_another_the_next(deployment: Deployment) -> None:
    first, is_new = create(deployment, form(deployment))
    again, is_new_again = create(deployment, form(deployment))
    other, _ = create(deployment, form(deployment, title="other"))
    elsewhere, _ = create(deployment, form(deployment), application="other-app")
    assert (is_new, is_new_again, again.id) == (True, False, first.id)
    assert (first.version, other.version, elsewhere.version) == (1, 2, 1)
    with deployment.database.session() as session:
        assert surveys.get(session, APPLICATION, "first").id == other.id
        assert surveys.get(session, APPLICATION, "first", 1).id == first.id
        assert [row.id for row in surveys.list_surveys(session, OPERATOR)] == [elsewhere.id, other.id, first.id]
        surveys.retire(session, APPLICATION, "first", 2, actor="admin")
        for name, version in (("none", None), ("first", 3)):
            with pytest.raises(NotFound):
                surveys.get(session, APPLICATION, name, version)
    assert create(deployment, form(deployment, title="other"))[0].version == 3  # a retired one does not come back


def test_an_invalid_survey_is_refused(deployment: Deployment) -> None:
    anna = deployment.add_user()
    with deployment.database.session() as session:
        private = make_image(session, owner_id=anna).id
        foreign = make_image(session, application="other-app").id
    for image in (private, foreign, new_id()):
        document = form(deployment, (0, 1))
        document["items"][1]["second"] = str(image)
        with pytest.raises(NotFound, match=str(image)):
            create(deployment, document)
    document = form(deployment, (0, 1))
    document["items"][1]["aspect"] = "height"
    with pytest.raises(InvalidInput, match="unknown aspect"):
        create(deployment, document)
    for options in ({"name": "with space"}, {"domain": ""}, {"domain": "x" * 65}, {"application": "a/b"}):
        with pytest.raises(InvalidInput):
            create(deployment, form(deployment), **options)
    with deployment.database.read_session() as session:
        assert surveys.list_surveys(session, OPERATOR) == []


def test_answers_supersede_and_the_same_again_change_nothing(deployment: Deployment) -> None:
    create(deployment, form(deployment))
    anna, ben = deployment.add_user("anna"), deployment.add_user("ben")
    first = answer(deployment, anna, {"people": 3})
    again = answer(deployment, anna, {"people": 3})
    changed = answer(deployment, anna, {"people": 4})
    answer(deployment, ben, {"people": 1})
    assert (first.is_new, again.is_new, again.row.id, changed.is_new) == (True, False, first.row.id, True)
    with deployment.database.read_session() as session:
        row, survey = survey_answers.answers_of(session, deployment.user(anna), "first")
        assert (row.answers, survey.version) == ({"people": 4}, 1)
        rows = session.execute(sa.select(SurveyAnswersRow).where(SurveyAnswersRow.user_id == anna)).scalars().all()
        assert sorted(row.superseded_at is None for row in rows) == [False, True]
        assert {row.user_id: row.answers for row in survey_answers.answers_to(session, survey.id)} == {
            anna: {"people": 4},
            ben: {"people": 1},
        }
        assert survey_answers.count_answers(session, [survey.id]) == {survey.id: 2}
        with pytest.raises(NotFound, match="has not answered"):
            survey_answers.answers_of(session, deployment.user(anna), "first", 2)


def test_answers_that_do_not_fit_change_nothing(deployment: Deployment) -> None:
    create(deployment, form(deployment, (0, 1)))
    anna = deployment.add_user()
    answer(deployment, anna, {"people": 3, "pair0": "first"})
    for wrong in ({"people": 9}, {"people": 3, "pair0": "neither"}, {"pair0": "tie"}, {"people": 3, "x": 1}, []):
        with pytest.raises(InvalidInput):
            answer(deployment, anna, wrong)
    with pytest.raises(NotFound):
        answer(deployment, new_id(), {"people": 3})
    with pytest.raises(NotFound):
        answer(deployment, anna, {"people": 3}, name="other")
    with deployment.database.session() as session:
        surveys.retire(session, APPLICATION, "first", 1, actor="admin")
    with pytest.raises(Conflict, match="retired"):
        answer(deployment, anna, {"people": 4})
    with deployment.database.read_session() as session:
        assert survey_answers.answers_of(session, deployment.user(anna), "first")[0].answers == {
            "people": 3,
            "pair0": "first",
        }
    assert log(deployment, anna).head == 1


def test_answers_to_pairs_are_comparisons_of_the_log(deployment: Deployment) -> None:
    create(deployment, form(deployment, (0, 1), (2, 3), (4, 5)))
    anna = deployment.add_user()
    done = answer(deployment, anna, {"people": 3, "pair0": "first", "pair1": "tie"})
    assert done.num_comparisons == 2
    answer(deployment, anna, {"people": 3, "pair0": "first", "pair1": "tie"})  # again
    answer(deployment, anna, {"people": 5, "pair0": "first", "pair1": "tie"})  # nothing new about pairs
    assert log(deployment, anna).head == 2
    changed = answer(deployment, anna, {"people": 5, "pair0": "second", "pair2": "first"})
    assert changed.num_comparisons == 3  # a changed answer, a withdrawn one, a new one
    preferences = {
        (each.first_id, each.second_id): each.preferences for each in log(deployment, anna).latest_comparisons()
    }
    images = deployment.images
    assert preferences == {(images[0], images[1]): {"beauty": 0.0}, (images[4], images[5]): {"beauty": 1.0}}
    answer(deployment, anna, {"people": 5, "pair0": "first"})  # the first answer again: a new event
    assert [each.preferences for each in log(deployment, anna).latest_comparisons()] == [{"beauty": 1.0}]
    with deployment.database.read_session() as session:
        rows = session.execute(sa.select(FeedbackRow).where(FeedbackRow.user_id == anna)).scalars().all()
        assert {row.source for row in rows} == {"survey"}


def test_log_that_is_full_for_today_keeps_answers_out_too(deployment: Deployment) -> None:
    create(deployment, form(deployment, (0, 1), (2, 3)))
    anna = deployment.add_user()
    with pytest.raises(TooMany):
        answer(deployment, anna, {"people": 3, "pair0": "first", "pair1": "tie"}, max_per_day=1)
    with deployment.database.read_session() as session, pytest.raises(NotFound):
        survey_answers.answers_of(session, deployment.user(anna), "first")
    assert log(deployment, anna).head == 0


def test_answers_about_pairs_train(deployment: Deployment) -> None:
    pairs = [(i, i + 1) for i in range(0, 12, 2)]
    create(deployment, form(deployment, *pairs))
    anna = deployment.add_user(min_new_feedback=1)
    better = {
        f"pair{i}": "first" if deployment.opinion(first) > deployment.opinion(second) else "second"
        for i, (first, second) in enumerate(pairs)
    }
    answer(deployment, anna, {"people": 3} | better)
    assert deployment.work() == 1
    (run,) = deployment.runs(anna)
    assert run.num_new + run.num_held_out == 6
    assert run.num_new > 0


def test_erasing_a_user_erases_their_answers(deployment: Deployment) -> None:
    create(deployment, form(deployment))
    anna = deployment.add_user()
    answer(deployment, anna, {"people": 3})
    answer(deployment, anna, {"people": 4})
    with deployment.database.session() as session:
        url = deployment.settings.resolved_erasures_url
        erasures.erase(session, deployment.blobs, anna, actor="admin", erasures_url=url)
    with deployment.database.read_session() as session:
        assert session.execute(sa.select(SurveyAnswersRow)).first() is None
        assert surveys.get(session, APPLICATION, "first")


def test_pairs_of_a_form_are_those_that_experts_disagree_on(deployment: Deployment) -> None:
    with deployment.database.read_session() as session, pytest.raises(InvalidInput, match="two at least"):
        survey_pairs.form_of_pairs(session, deployment.blobs, deployment.settings, APPLICATION, 3)
    users = [deployment.add_user(f"expert{i}") for i in range(2)]
    for seed, user in enumerate(users):
        with deployment.database.session() as session:
            experts.register(
                session, user, name=f"expert {seed}", domain="photographs", form=ExpertForm.POOLED, actor="a"
            )
        deployment.rate(user, range(12), seed=seed)
    deployment.work()
    with deployment.database.session() as session:
        document = survey_pairs.form_of_pairs(session, deployment.blobs, deployment.settings, APPLICATION, 3)
        with pytest.raises(InvalidInput, match="unknown aspect"):
            survey_pairs.form_of_pairs(session, deployment.blobs, deployment.settings, APPLICATION, 3, "height")
    create(deployment, document, name="pairs")
    score_2I = np.stack([deployment.scores(user)[:, 0] for user in users]).astype(np.float64)
    at = {str(image_id): i for i, image_id in enumerate(deployment.images)}

    def apart(first: int, second: int) -> float:
        difference_2 = score_2I[:, first] - score_2I[:, second]
        return float(abs(difference_2[0] - difference_2[1]))

    chosen = [apart(at[item["first"]], at[item["second"]]) for item in document["items"]]
    assert chosen[0] == pytest.approx(max(apart(i, j) for i in range(12) for j in range(12)), rel=1e-5)
