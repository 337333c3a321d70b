"""The promises that must hold for the rows when all work is done, after any faults."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.chaos.ledger import Ledger, Scored
from paaplus.chaos.oracle import Oracle
from paaplus.configs import MATCH_STRATEGY
from paaplus.db.clock import db_now
from paaplus.db.exclusions import is_excluded
from paaplus.db.tables import (
    AdapterHistoryRow,
    AdapterRow,
    Base,
    DueRow,
    ExclusionRow,
    FeedbackRow,
    JobRow,
    PredictionReceiptRow,
    RunRow,
    SecretRow,
    UserRow,
)
from paaplus.db.tables.jobs import JobKind, JobState
from paaplus.db.tables.models import AdapterState, PointerMove
from paaplus.errors import InvalidInput
from paaplus.receipts import KEY_NAME, Signer, row_id

MOVES: Final = (
    PointerMove.GATE_PROMOTED,
    PointerMove.GATE_RETIRED,
    PointerMove.PROMOTED,
    PointerMove.ROLLED_BACK,
    PointerMove.PINNED,
    PointerMove.MATCHED,
)


@dataclass
class Check:
    """One promise, the number of checked items, and the contradictions found."""

    promise: str
    num_checked: int = 0
    problems: list[str] = field(default_factory=list)

    def expect(self, holds: bool, problem: Callable[[], str]) -> None:
        self.num_checked += 1
        if not holds:
            self.problems.append(problem())


def is_quiet(session: Session) -> bool:
    """No job is queued or running, and nobody is due."""
    now = db_now(session)
    busy = sa.select(JobRow.id).where(JobRow.state.in_((JobState.QUEUED, JobState.RUNNING)))
    due = sa.select(DueRow.user_id).where(DueRow.due_at <= now)
    return session.execute(busy.limit(1)).first() is None and session.execute(due.limit(1)).first() is None


def check_all(session: Session, oracle: Oracle, ledger: Ledger, final: Iterable[Scored]) -> list[Check]:
    """All checks on one snapshot.

    Args:
        final: the scores of every user and image after all work was done.
    """
    return [
        no_lost_feedback(session, ledger),
        gapless_logs(session),
        excluded_once(session),
        gapless_versions(session),
        one_active_version(session, oracle),
        consistent_history(session),
        one_lineage(session),
        everything_trained(session),
        one_effect_per_job(session),
        no_stuck_job(session),
        scores_of_the_storm(oracle, ledger),
        scores_now(oracle, final),
        true_receipts(session, ledger),
        nothing_of_the_erased(session, ledger),
        Check("every wrong answer is explained by a fault", len(ledger.latencies_s), list(ledger.complaints)),
    ]


def no_lost_feedback(session: Session, ledger: Ledger) -> Check:
    check = Check("no acknowledged feedback is lost, and none was invented")
    rows = session.execute(sa.select(FeedbackRow.user_id, FeedbackRow.event_id, FeedbackRow.sequence, FeedbackRow.kind))
    stored = {(str(user_id), event_id): (sequence, kind.value) for user_id, event_id, sequence, kind in rows}
    for key, sequence in ledger.acknowledged.items():
        if key[0] not in ledger.erasing:
            expected = (sequence, ledger.posted[key]["kind"])
            found = stored.get(key)
            check.expect(
                found == expected,
                lambda k=key, e=expected, f=found: f"event {k}: acknowledged as {e}, stored as {f}",  # type: ignore[misc]
            )
    for key in stored:
        check.expect(key in ledger.posted, lambda k=key: f"event {k} was never posted")  # type: ignore[misc]
    return check


def gapless_logs(session: Session) -> Check:
    check = Check("every log is numbered without gaps")
    rows = session.execute(sa.select(FeedbackRow.user_id, FeedbackRow.sequence).order_by(FeedbackRow.sequence))
    _expect_gapless(session, check, rows.all(), lambda user: user.feedback_sequence)
    return check


def excluded_once(session: Session) -> Check:
    check = Check("no event is excluded twice")
    runs = session.execute(
        sa.select(ExclusionRow.user_id, ExclusionRow.first_sequence, ExclusionRow.last_sequence)
        .where(ExclusionRow.released_at.is_(None))
        .order_by(ExclusionRow.user_id, ExclusionRow.first_sequence)
    )
    reached: dict[UUID, int] = {}
    for user_id, first, last in runs:
        check.expect(
            reached.get(user_id, 0) < first <= last,
            lambda u=user_id, f=first, n=last: f"user {u}: events {f} to {n} are no run, or excluded twice",  # type: ignore[misc]
        )
        reached[user_id] = max(last, reached.get(user_id, 0))
    return check


def gapless_versions(session: Session) -> Check:
    check = Check("no version number is missing or given twice")
    query = sa.select(AdapterRow.user_id, AdapterRow.number).order_by(AdapterRow.number)
    rows = session.execute(query.where(AdapterRow.number > 0))  # 0 is the version of a match before any training
    _expect_gapless(session, check, rows.all(), lambda user: user.adapter_sequence)
    return check


def _expect_gapless(
    session: Session, check: Check, rows: Iterable[sa.Row[UUID, int]], last: Callable[[UserRow], int]
) -> None:
    numbers = defaultdict(list)
    for user_id, number in rows:
        numbers[user_id].append(number)
    for user in session.execute(sa.select(UserRow)).scalars():
        found, expected = numbers[user.id], list(range(1, last(user) + 1))
        check.expect(found == expected, lambda u=user, f=found, e=expected: f"user {u.id}: {f}, not {e}")  # type: ignore[misc]


def one_active_version(session: Session, oracle: Oracle) -> Check:
    check = Check("nobody has two active versions, and the bytes of every version match its digest")
    counts = session.execute(
        sa.select(AdapterRow.user_id, sa.func.count())
        .where(AdapterRow.state == AdapterState.ACTIVE)
        .group_by(AdapterRow.user_id)
    )
    for user_id, count in counts:
        check.expect(count == 1, lambda u=user_id, c=count: f"user {u} has {c} active versions")  # type: ignore[misc]
    check.problems += [f"{name} is damaged" for name in oracle.damaged]
    return check


def consistent_history(session: Session) -> Check:
    """Replay the history: each change starts where the one before ended, and the last ends at the active version."""
    check = Check("the history of active versions is unbroken and ends at the active version")
    at: dict[UUID, UUID | None] = defaultdict(lambda: None)
    for act in session.execute(sa.select(AdapterHistoryRow).order_by(AdapterHistoryRow.id)).scalars():
        if act.move in (*MOVES, PointerMove.GATE_REFUSED, PointerMove.UNPINNED):
            here = at[act.user_id]
            check.expect(
                act.from_adapter_id == here,
                lambda a=act, h=here: f"user {a.user_id}: {a.move} from {a.from_adapter_id} while {h} was active",  # type: ignore[misc]
            )
        if act.move in MOVES:
            at[act.user_id] = act.to_adapter_id
    actives = dict(
        session.execute(
            sa.select(AdapterRow.user_id, AdapterRow.id).where(AdapterRow.state == AdapterState.ACTIVE)
        ).all()
    )
    for user_id in session.execute(sa.select(UserRow.id)).scalars():
        end, active = at[user_id], actives.get(user_id)
        check.expect(
            end == active,
            lambda u=user_id, e=end, a=active: f"user {u}: the history ends at {e}, active is {a}",  # type: ignore[misc]
        )
    return check


def one_lineage(session: Session) -> Check:
    """Each version was trained on exactly the events after its parent's, or on all events again.

    So along a lineage every event is new data of exactly one version.
    """
    check = Check("along a lineage, every event is in exactly one version's new data")
    versions = {row.id: row for row in session.execute(sa.select(AdapterRow)).scalars()}
    runs = {row.id: row for row in session.execute(sa.select(RunRow)).scalars()}
    for version in versions.values():
        run = runs.get(version.run_id) if version.run_id else None
        parent = versions.get(version.parent_id) if version.parent_id else None
        if version.strategy == MATCH_STRATEGY:
            continue
        if run is None:
            check.expect(False, lambda v=version: f"version {v.number} of user {v.user_id} has no run")  # type: ignore[misc]
            continue
        starts = {0} if parent is None else {0, parent.high_water_sequence}
        check.expect(
            run.from_sequence in starts and run.to_sequence == version.high_water_sequence,
            lambda v=version, r=run, s=starts: (  # type: ignore[misc]
                f"version {v.number} of user {v.user_id}: learned {r.from_sequence} to {r.to_sequence}, "
                f"from {sorted(s)} to {v.high_water_sequence} was to be expected"
            ),
        )
    return check


def everything_trained(session: Session) -> Check:
    check = Check("every user with enough new feedback was trained with it")
    for user in session.execute(sa.select(UserRow)).scalars():
        waiting = session.execute(
            sa.select(sa.func.count()).where(
                FeedbackRow.user_id == user.id, FeedbackRow.sequence > user.trained_sequence, ~is_excluded()
            )
        ).scalar_one()
        enough = user.policy["min_new_feedback"]
        check.expect(waiting < enough, lambda u=user, w=waiting: f"user {u.id}: {w} events wait and nobody is due")  # type: ignore[misc]
    return check


def one_effect_per_job(session: Session) -> Check:
    check = Check("a job has one effect, however often it was delivered")
    for job_id, state, num_runs in session.execute(
        sa.select(JobRow.id, JobRow.state, sa.func.count(RunRow.id))
        .join(RunRow, RunRow.job_id == JobRow.id)
        .group_by(JobRow.id, JobRow.state)
    ):
        check.expect(
            num_runs == 1 and state == JobState.SUCCEEDED,
            lambda j=job_id, s=state, n=num_runs: f"job {j} is {s} and has {n} runs",  # type: ignore[misc]
        )
    for run_id, num_versions in session.execute(
        sa.select(AdapterRow.run_id, sa.func.count())
        .where(AdapterRow.run_id.is_not(None))  # the version of a match has no run
        .group_by(AdapterRow.run_id)
    ):
        check.expect(num_versions == 1, lambda r=run_id, n=num_versions: f"run {r} made {n} versions")  # type: ignore[misc]
    return check


def no_stuck_job(session: Session) -> Check:
    check = Check("no job is stuck or given up")
    for job in session.execute(sa.select(JobRow)).scalars():
        ended = job.state in (JobState.SUCCEEDED, JobState.CANCELLED)
        check.expect(
            ended,
            lambda j=job: f"{j.kind} job {j.id} is {j.state} after {j.attempts} attempt(s): {j.last_error}",  # type: ignore[misc]
        )
    adapt = sa.select(sa.func.count()).where(JobRow.kind == JobKind.ADAPT, JobRow.state == JobState.SUCCEEDED)
    check.expect(session.execute(adapt).scalar_one() > 0, lambda: "no training was done, so nothing was tested")
    return check


def scores_of_the_storm(oracle: Oracle, ledger: Ledger) -> Check:
    """Each answer equals, bit for bit, the score that its version gives this user for this image."""
    check = Check("every answer during the faults equals its version's score, bit for bit")
    for scored in ledger.scored:
        if scored.user not in ledger.erasing:
            _expect_scores(check, oracle, scored, scored.number)
    return check


def scores_now(oracle: Oracle, final: Iterable[Scored]) -> Check:
    check = Check("every score served now equals that of the active version, bit for bit")
    for scored in final:
        _expect_scores(check, oracle, scored, oracle.served.get(UUID(scored.user), 0))
    check.expect(check.num_checked > 0, lambda: "no score was served, so nothing was compared")
    return check


def _expect_scores(check: Check, oracle: Oracle, scored: Scored, number: int) -> None:
    expected = oracle.scores(UUID(scored.user), number, UUID(scored.image))
    check.expect(
        scored.number == number and scored.scores == expected,
        lambda: (
            f"user {scored.user}, image {scored.image}: version {scored.number} gave {scored.scores}, "
            f"version {number} gives {expected}"
        ),
    )


def true_receipts(session: Session, ledger: Ledger) -> Check:
    check = Check(
        "every answered prediction has a receipt that says its scores, also as a row if a correction names it"
    )
    signer = Signer(session.get_one(SecretRow, KEY_NAME).value)
    rows = session.execute(sa.select(PredictionReceiptRow.id, PredictionReceiptRow.scores))
    kept: dict[UUID, dict[str, float]] = {row.id: row.scores for row in rows}
    for scored in ledger.scored:
        if scored.user in ledger.erasing:
            continue
        signed = _signed(signer, scored)
        row = kept.get(row_id(scored.receipt), scored.scores)
        check.expect(
            signed == (scored.image, [*scored.scores.values()]) and row == scored.scores,
            lambda s=scored, signed=signed, row=row: f"receipt {s.receipt} of user {s.user}: {signed}; its row: {row}",  # type: ignore[misc]
        )
    return check


def _signed(signer: Signer, scored: Scored) -> tuple[str, list[float]] | None:
    """Image and scores of a receipt; None: it was not signed here for this user."""
    try:
        receipt = signer.read(UUID(scored.user), scored.receipt)
    except InvalidInput:
        return None
    return str(receipt.image_id), [*receipt.scores]


def nothing_of_the_erased(session: Session, ledger: Ledger) -> Check:
    check = Check("no row of an erased user is left")
    erased = [UUID(user_id) for user_id in ledger.erased]
    for table in Base.metadata.sorted_tables:
        for key in table.foreign_keys:
            if key.column.table.name == UserRow.__tablename__:
                left = session.execute(sa.select(sa.func.count()).where(key.parent.in_(erased))).scalar_one()
                check.expect(left == 0, lambda t=table, n=left: f"{n} row(s) in {t.name}")  # type: ignore[misc]
    left = session.execute(sa.select(sa.func.count()).where(UserRow.id.in_(erased))).scalar_one()
    check.expect(left == 0, lambda: f"{left} erased user(s) are there")
    return check
