"""Quizzes: an answer writes one comparison and asks the next pair; repeating it changes nothing; clients may race."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import numpy as np
import pytest
import sqlalchemy as sa

from paaplus.db.engine import Database
from paaplus.db.tables import FeedbackRow, ImageRow, QuizPairRow, QuizRow
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.errors import Conflict, InvalidInput, NotFound, PaaplusError, TooMany
from paaplus.ids import new_id
from paaplus.services.adaptation import suggestions
from paaplus.services.experts import quizzes
from paaplus.services.experts.quizzes import QuizState
from paaplus.services.feedback import consistency, feedback_log
from paaplus.services.registry import base_models
from paaplus.settings import Settings
from tests.paaplus.services.experts.test_matching import Clinic
from tests.support.databases import on_both_databases
from tests.support.factories import make_image, make_user
from tests.support.tiny import tiny_base


class Quizmaster(Clinic):
    """A deployment, by default without experts, with short methods for quizzes."""

    def __init__(self, database: Database, settings: Settings, *, num_experts: int = 0) -> None:
        super().__init__(database, settings, num_experts=num_experts)
        self.doors = (database, self.blobs, self.store, settings)

    def open(self, user_id: UUID, max_pairs: int = 12) -> QuizState:
        return quizzes.open_quiz(*self.doors, user_id, max_pairs=max_pairs)[0]

    def answer(
        self, user_id: UUID, position: int, preference: Any = "first", event_id: str | None = None, **options: Any
    ) -> QuizState:
        event = event_id or f"quiz-{position}"
        return quizzes.answer(
            *self.doors, user_id, position=position, preference=preference, event_id=event, **options
        )[0]

    def finish(self, user_id: UUID, *, seed: int) -> QuizState:
        """Answer as a person of this taste until the quiz is over."""
        place = {image_id: i for i, image_id in enumerate(self.images)}
        state = self.open(user_id)
        while state.pair is not None:
            first, second = (
                self.opinion(place[image_id], seed=seed)
                for image_id in (state.pair.first_image_id, state.pair.second_image_id)
            )
            state = self.answer(user_id, state.pair.position, "first" if first > second else "second")
        return state

    def pairs(self) -> list[QuizPairRow]:
        """Of all quizzes, in order of position."""
        with self.database.read_session() as session:
            return list(session.execute(sa.select(QuizPairRow).order_by(QuizPairRow.position)).scalars())

    def events(self, user_id: UUID) -> list[FeedbackRow]:
        with self.database.read_session() as session:
            query = sa.select(FeedbackRow).where(FeedbackRow.user_id == user_id).order_by(FeedbackRow.sequence)
            return list(session.execute(query).scalars())


@pytest.fixture
def master(database: Database, settings: Settings) -> Quizmaster:
    return Quizmaster(database, settings)


def test_a_quiz_asks_different_pairs_that_may_train_and_ends_with_a_reason(master: Quizmaster) -> None:
    user = master.add_user()
    state = master.finish(user, seed=1)
    assert 4 <= state.num_answered <= 12
    assert state.row.finished_at is not None
    assert state.row.finish_reason
    events = master.events(user)
    assert [(event.kind, event.source) for event in events] == [(FeedbackKind.COMPARISON, "quiz")] * state.num_answered
    num_checks = sum(pair.expected_information == 0 for pair in master.pairs())
    assert num_checks == (state.num_answered >= 5), "one pair is asked again"
    assert len({frozenset((e.image_id, e.other_image_id)) for e in events}) == len(events) - num_checks
    with master.database.read_session() as session:
        log = feedback_log.read(session, master.user(user), master.settings.holdout_key.get_secret_value())
    pairs = master.pairs()
    assert not any(each.held_out for each in log.latest_comparisons()), "an answer must train"
    assert [pair.feedback_id for pair in pairs] == [event.id for event in events]
    assert [pair.position for pair in pairs] == list(range(1, len(events) + 1))
    assert all(pair.expected_information > 0 for pair in pairs if pair.position != 5)


@pytest.mark.parametrize(("always", "num_same_side"), [("first", 2), ("second", 2), (None, 0)])
@pytest.mark.slow
def test_pairs_that_are_asked_again_with_swapped_sides_find_who_chooses_sides(
    master: Quizmaster, always: str | None, num_same_side: int
) -> None:
    user = master.add_user()
    state = master.open(user, max_pairs=20)
    while state.pair is not None:
        image_wins = "first" if state.pair.first_image_id < state.pair.second_image_id else "second"
        state = master.answer(user, state.pair.position, always or image_wins)
    assert state.num_answered == 20
    for position in (5, 15):
        again = master.pairs()[position - 1]
        earlier = [(pair.second_image_id, pair.first_image_id) for pair in master.pairs()[: position - 2]]
        assert (again.first_image_id, again.second_image_id) in earlier
        assert again.expected_information == 0
    with master.database.read_session() as session:
        [found] = consistency.consistency_of(session, master.user(user)).values()
        log = feedback_log.read(session, master.user(user), None)
    assert (found.sides.num_swapped, found.sides.num_same_side) == (2, num_same_side)
    if always is not None:
        assert {found.sides.num_first, found.sides.num_second} == {20, 0}
    assert len(log.latest_comparisons()) == 18


def test_a_pair_without_a_preference_is_not_asked_again(master: Quizmaster) -> None:
    user = master.add_user()
    state = master.open(user)
    for preference in ("tie", "cannot_say", "tie", "first"):
        state = master.answer(user, state.pair.position, preference)
    assert state.pair.position == 5
    assert state.pair.expected_information > 0


@pytest.mark.slow
def test_answers_are_the_evidence_of_a_match(database: Database, settings: Settings) -> None:
    master = Quizmaster(database, settings, num_experts=3)
    silent, heard = master.add_user("silent"), master.add_user("heard")
    state = master.finish(heard, seed=7)
    rows = [master.match(user) for user in (silent, heard)]
    num_asked_again = sum(pair.expected_information == 0 for pair in master.pairs())
    assert [row.evidence["num_comparisons"] for row in rows] == [0, state.num_answered - num_asked_again]
    assert not np.array_equal(master.scores(silent), master.scores(heard))


def test_an_open_quiz_is_what_opening_it_again_gives(master: Quizmaster) -> None:
    user = master.add_user()
    first = master.open(user)
    master.answer(user, 1)
    state, is_new = quizzes.open_quiz(*master.doors, user, max_pairs=5)
    assert (state.row.id, is_new, state.num_answered, state.row.max_pairs) == (first.row.id, False, 1, 12)
    assert state.pair.position == 2


@pytest.mark.slow
def test_a_finished_quiz_makes_room_for_another_that_asks_other_pairs(master: Quizmaster) -> None:
    user = master.add_user()
    done = master.finish(user, seed=1)
    again, is_new = quizzes.open_quiz(*master.doors, user, max_pairs=4)
    assert (is_new, again.row.id != done.row.id, again.pair.position) == (True, True, 1)
    asked = {frozenset((event.image_id, event.other_image_id)) for event in master.events(user)}
    assert frozenset((again.pair.first_image_id, again.pair.second_image_id)) not in asked


def test_the_same_answer_twice_changes_nothing(master: Quizmaster) -> None:
    user = master.add_user()
    master.open(user)
    state = master.answer(user, 1, "tie")
    for _ in range(2):
        assert master.answer(user, 1, "tie").pair.id == state.pair.id
    assert len(master.events(user)) == 1


def test_the_last_answer_may_be_given_twice_too(master: Quizmaster) -> None:
    user = master.add_user()
    master.open(user, max_pairs=4)
    for position in (1, 2, 3, 4):
        state = master.answer(user, position, "cannot_say")
    assert state.row.finish_reason == "4 pairs asked, as many as were planned"
    assert master.answer(user, 4, "cannot_say").row.id == state.row.id
    with pytest.raises(Conflict, match="finished"):
        master.answer(user, 5)


@pytest.mark.parametrize(
    ("act", "error"),
    [
        (lambda m, u: m.answer(u, 1, "second"), Conflict),
        (lambda m, u: m.answer(u, 1, "first", "another"), Conflict),
        (lambda m, u: m.answer(u, 3, event_id="quiz-1"), Conflict),
        (lambda m, u: m.answer(u, 2, {"beauty": "best"}, "x"), InvalidInput),
        (lambda m, u: m.answer(u, 2, {"wealth": "first"}, "x"), InvalidInput),
        (lambda m, u: m.answer(u, 2, {}, "x"), InvalidInput),
        (lambda m, u: m.answer(u, 2, "first", "quiz-1"), Conflict),
        (lambda m, u: m.answer(u, 2, "first", "x", max_per_day=1), TooMany),
        (lambda m, u: m.answer(new_id(), 2), NotFound),
    ],
)
def test_an_invalid_answer_is_refused_and_changes_nothing(
    master: Quizmaster, act: Callable[[Quizmaster, UUID], Any], error: type[PaaplusError]
) -> None:
    user = master.add_user()
    master.open(user)
    state = master.answer(user, 1)
    num_events = len(master.events(user))
    with pytest.raises(error):
        act(master, user)
    with master.database.read_session() as session:
        now = quizzes.current(session, user)
    assert (now.pair.id, now.num_answered, len(master.events(user))) == (state.pair.id, state.num_answered, num_events)


def test_an_unknown_user_has_no_quiz(master: Quizmaster) -> None:
    user = master.add_user()
    with master.database.read_session() as session, pytest.raises(NotFound, match="has no quiz"):
        quizzes.current(session, user)
    with pytest.raises(NotFound):
        master.open(new_id())


def test_private_images_of_others_are_not_asked_about(master: Quizmaster) -> None:
    with master.database.session() as session:
        owner = make_user(session)
        session.execute(sa.update(ImageRow).values(owner_id=owner.id))
    with pytest.raises(Conflict, match="no two shared images"):
        master.open(master.add_user())


def test_an_open_pair_that_lost_an_image_is_replaced(master: Quizmaster) -> None:
    user = master.add_user()
    lost = master.open(user)
    with master.database.session() as session:
        session.execute(sa.delete(ImageRow).where(ImageRow.id == lost.pair.first_image_id))
    with master.database.read_session() as session:
        assert quizzes.current(session, user).pair is None
    state, is_new = quizzes.open_quiz(*master.doors, user, max_pairs=12)
    assert (state.row.id, is_new, state.pair.position) == (lost.row.id, False, 1)


def test_another_base_model_ends_a_quiz(master: Quizmaster) -> None:
    user = master.add_user()
    before = master.open(user)
    with master.database.session() as session:
        base_models.register(session, master.blobs, tiny_base(seed=1), {"extractor": "none"}, {})
    state = master.answer(user, 1)
    assert (state.row.id, state.pair, state.row.finish_reason) == (before.row.id, None, quizzes.OTHER_BASE_MODEL)
    assert master.open(user).row.base_model_id != before.row.base_model_id


@on_both_databases
def test_two_clients_open_one_quiz(master: Quizmaster) -> None:
    user = master.add_user()
    with ThreadPoolExecutor(4) as pool:
        states = list(pool.map(lambda _: master.open(user), range(4)))
    assert len({state.row.id for state in states}) == len({state.pair.id for state in states}) == 1
    with master.database.read_session() as session:
        assert session.execute(sa.select(sa.func.count()).select_from(QuizRow)).scalar_one() == 1


@on_both_databases
def test_two_clients_that_answer_one_pair_leave_one_answer(master: Quizmaster) -> None:
    """Of two answers at once, one is written and one refused; of two equal answers, one is written and both succeed."""
    user = master.add_user()
    state = master.open(user)

    def outcome(preference: str, event_id: str, position: int) -> str:
        try:
            master.answer(user, position, preference, event_id)
        except Conflict:
            return "conflict"
        return "taken"

    for position in range(1, 4):
        with ThreadPoolExecutor(2) as pool:
            outcomes = list(pool.map(outcome, ("first", "second"), (f"a{position}", f"b{position}"), (position,) * 2))
        assert sorted(outcomes) == ["conflict", "taken"]
        assert len(master.events(user)) == position
    with ThreadPoolExecutor(3) as pool:
        outcomes = list(pool.map(outcome, ("tie",) * 3, ("same",) * 3, (4,) * 3))
    assert (outcomes, len(master.events(user))) == (["taken"] * 3, 4)
    with master.database.read_session() as session:
        positions = session.execute(
            sa.select(QuizPairRow.position).where(QuizPairRow.quiz_id == state.row.id).order_by(QuizPairRow.position)
        ).scalars()
        assert list(positions) == list(range(1, len(list(master.events(user))) + 2))


# --- which images to ask about next


def test_suggested_images_are_more_informative_than_others(master: Quizmaster) -> None:
    asked, others = master.add_user("asked"), master.add_user("others")
    images = suggestions.to_rate(*master.doors, asked, count=6)
    assert len(set(images)) == 6
    assert suggestions.to_rate(*master.doors, asked, count=6) == images
    place = {image_id: i for i, image_id in enumerate(master.images)}
    for user, chosen in ((asked, [place[image] for image in images]), (others, range(6))):
        master.post(*[master.rating(user, f"s{i}", i, master.opinion(i, seed=3), n) for n, i in enumerate(chosen)])
        master.match(user)
    truth_I = np.array([master.opinion(i, seed=3) for i in range(160)])
    errors = [np.abs(master.scores(user)[:, 0] - truth_I).mean() for user in (asked, others)]
    assert errors[0] < errors[1]


def test_rated_images_are_not_suggested_again_and_change_the_suggestions(master: Quizmaster) -> None:
    user = master.add_user()
    before = suggestions.to_rate(*master.doors, user, count=160)
    assert len(before) == 160
    place = {image_id: i for i, image_id in enumerate(master.images)}
    master.post(*[master.rating(user, f"r{n}", place[image], 5.0, n) for n, image in enumerate(before[:3])])
    after = suggestions.to_rate(*master.doors, user, count=160)
    assert sorted(after) == sorted(before[3:])
    with master.database.session() as session:
        private = make_image(session, owner_id=make_user(session).id).id
    assert private not in suggestions.to_rate(*master.doors, user, count=200)
    with pytest.raises(NotFound):
        suggestions.to_rate(*master.doors, new_id(), count=1)


# --- several aspects


def test_an_answer_is_about_every_aspect_or_names_one(database: Database, settings: Settings) -> None:
    master = Quizmaster(database, settings)
    with database.session() as session:
        base_models.register(session, master.blobs, tiny_base(("beauty", "health"), seed=2), {"extractor": "none"}, {})
    user = master.add_user()
    master.open(user)
    master.answer(user, 1, "second")
    state = master.answer(user, 2, {"health": "first"})
    assert master.answer(user, 2, {"health": "first"}).pair.id == state.pair.id
    answers = [event.payload["preference"] for event in master.events(user)]
    assert answers == [{"beauty": "second", "health": "second"}, {"health": "first"}]
    row = master.match(user)
    assert row.evidence["num_comparisons"] == 2
    assert master.adapter(master.versions(user)[0]).weight_RA.shape == (6, 2)
    assert len(suggestions.to_rate(*master.doors, user, count=5)) == 5
