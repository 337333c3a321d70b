"""Review batches: which images go to which expert, in which order, and with which pseudo labels."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.engine import Database
from paaplus.db.tables import ExpertRow, ImageRow, ReviewBatchRow, ReviewRow, UserRow
from paaplus.db.tables.reviews import ReviewOrder, ReviewState
from paaplus.db.types import utcnow
from paaplus.errors import Conflict, InvalidInput, NotFound
from paaplus.ids import new_id
from paaplus.services import audit
from paaplus.services.names import check_application
from paaplus.services.predictions.serving_store import ServingStore
from paaplus.services.reviews import pseudo_labels
from paaplus.services.reviews.combined_labels import combine, expected_value, read_labels
from paaplus.services.reviews.ordering import expert_spreads
from paaplus.services.users import users
from paaplus.services.users.keys import Principal
from paaplus.texts import clean_name

MAX_IMAGES: Final = 5_000
MAX_EXPERTS: Final = 50
MAX_REVIEWS: Final = 20_000  # of all experts in one batch, because one transaction writes them
NAME_MAX: Final = 128
_IN_BATCH = 500  # ids in one statement


@dataclass(frozen=True)
class NewBatch:
    """A request for a batch, see `POST /v1/review-batches`.

    Raises:
        InvalidInput: a value out of range, or a duplicate.
    """

    application: str
    name: str
    experts: tuple[str, ...]
    tools: tuple[str, ...] | None = None  # None: all tools that have labelled an aspect of the base model
    image_ids: tuple[UUID, ...] | None = None  # None: all images that these tools have labelled
    order: ReviewOrder = ReviewOrder.VALUE
    seed: int = 0
    overlap: float = 0.0  # share of images that every expert gets; each other image goes to one expert
    limit: int = 1_000

    def __post_init__(self) -> None:
        check_application(self.application)
        object.__setattr__(self, "name", clean_name(self.name, NAME_MAX, "the name of a batch"))
        if not 0 < len(set(self.experts)) == len(self.experts) <= MAX_EXPERTS:
            raise InvalidInput(f"{len(self.experts)} experts: 1 to {MAX_EXPERTS}, none twice")
        if self.tools is not None and not 0 < len(set(self.tools)) == len(self.tools) <= 100:
            raise InvalidInput(f"{len(self.tools)} tools: 1 to 100, none twice")
        if not 1 <= self.limit <= MAX_IMAGES:
            raise InvalidInput(f"limit {self.limit}: 1 to {MAX_IMAGES} images")
        if self.image_ids is not None and not 0 < len(self.image_ids) <= MAX_IMAGES:
            raise InvalidInput(f"{len(self.image_ids)} images: 1 to {MAX_IMAGES}")
        if not 0.0 <= self.overlap <= 1.0:
            raise InvalidInput(f"overlap {self.overlap}: a share, 0 to 1")
        if self.seed < 0:
            raise InvalidInput(f"seed {self.seed}: 0 or more")


def create(
    database: Database,
    store: ServingStore,
    principal: Principal,
    new: NewBatch,
    *,
    begin: Callable[[Session], None] = lambda _: None,
    finish: Callable[[Session, ReviewBatchRow], None] = lambda *_: None,
) -> ReviewBatchRow:
    """Make a batch with a queue of reviews for every expert.

    Labels are read, calibrated and combined before anything is written.

    Args:
        begin: called in the transaction that writes the batch, before anything else.
        finish: called at its end.

    Raises:
        InvalidInput: a user who is no expert of this application, no image has a label, or more than `MAX_REVIEWS`
            reviews.
        NotFound: no such user or image in this application.
        Conflict: a named image has no label by these tools for an aspect of the base model.
    """
    wanted = list(new.image_ids) if new.image_ids is not None else None
    aspects = store.load([], []).scorer.aspects
    with database.read_session() as session:
        expert_ids = _experts(session, principal, new)
        tools = new.tools or _labelling_tools(session, new.application, aspects)
        if wanted is not None:
            _check_images(session, new.application, wanted)
        image_ids = wanted or pseudo_labels.labelled_images(
            session, new.application, tools, MAX_IMAGES, not_before=expert_ids
        )
    serving = store.load([], set(image_ids))
    with database.read_session() as session:
        labels, in_force = read_labels(session, new.application, image_ids, tools)
        spread_of = expert_spreads(session, new.application, image_ids)
    digest = serving.scorer.digest
    shown = {
        image_id: combine(labels[image_id], aspects, in_force, serving.images.get(image_id), digest).to_json()
        for image_id in dict.fromkeys(image_ids)
        if image_id in labels
    }
    shown = {image_id: label for image_id, label in shown.items() if label["scores"]}
    if wanted is not None and (without := sorted(set(wanted) - set(shown))):
        raise Conflict(
            f"{len(without)} of {len(set(wanted))} images have no label by {sorted(tools)} of {list(aspects)}, "
            f"e.g. {without[0]}: ask for them with POST /v1/pseudo-labels first"
        )
    if not shown:
        raise InvalidInput(
            f"no image of {new.application!r} that these experts have not had yet has a label by {sorted(tools)} "
            f"of {list(aspects)}"
        )
    value = {image_id: expected_value(label, {}, spread_of.get(image_id, {})) for image_id, label in shown.items()}
    queues = _deal(new, expert_ids, list(shown), value)
    if (num_reviews := sum(map(len, queues.values()))) > MAX_REVIEWS:
        raise InvalidInput(
            f"{num_reviews} reviews of {min(len(shown), new.limit)} images by {len(expert_ids)} experts; "
            f"at most {MAX_REVIEWS} in one batch: lower limit or overlap"
        )
    with database.session() as session:
        begin(session)
        row = _write(session, new, tools, queues, shown, value, principal.actor)
        finish(session, row)
        return row


def get(session: Session, principal: Principal, batch_id: UUID) -> ReviewBatchRow:
    """One batch.

    Raises:
        NotFound: no such batch for this principal.
    """
    row = session.get(ReviewBatchRow, batch_id)
    if row is None or principal.application not in (None, row.application):
        raise NotFound(f"review batch {batch_id} does not exist")
    return row


def list_batches(
    session: Session, principal: Principal, *, limit: int = 100, before: UUID | None = None
) -> list[ReviewBatchRow]:
    """Batches that this principal may see, newest first."""
    query = sa.select(ReviewBatchRow).order_by(ReviewBatchRow.id.desc()).limit(limit)
    if principal.application is not None:
        query = query.where(ReviewBatchRow.application == principal.application)
    if before is not None:
        query = query.where(ReviewBatchRow.id < before)
    return list(session.execute(query).scalars())


def close(session: Session, principal: Principal, batch_id: UUID) -> ReviewBatchRow:
    """Close a batch: its open reviews leave the experts' queues; decided reviews stay. Repeating it changes nothing.

    Raises:
        NotFound: no such batch for this principal.
    """
    get(session, principal, batch_id)
    row = session.get_one(ReviewBatchRow, batch_id, with_for_update=True, populate_existing=True)
    if row.closed_at is None:
        row.closed_at = utcnow()
        audit.record(session, actor=principal.actor, action="review_batch_closed", subject_id=row.id)
    return row


def _experts(session: Session, principal: Principal, new: NewBatch) -> list[UUID]:
    found = users.resolve_many(session, principal, new.experts)
    for ref in new.experts:
        if ref not in found or found[ref].application != new.application:
            raise NotFound(f"user {ref!r} does not exist in application {new.application!r}")
    ids = [found[ref].id for ref in new.experts]
    if len(set(ids)) != len(ids):
        raise InvalidInput("experts: two references name the same user")
    registered = session.execute(
        sa.select(ExpertRow.user_id).where(ExpertRow.user_id.in_(ids), ExpertRow.retired_at.is_(None))
    ).scalars()
    active = set(registered)
    for ref, user_id in zip(new.experts, ids, strict=True):
        if user_id not in active:
            raise InvalidInput(f"user {ref!r} is no expert, or a retired one")
    return ids


def _labelling_tools(session: Session, application: str, aspects: Collection[str]) -> tuple[str, ...]:
    found = pseudo_labels.tools_that_label(session, application, aspects)
    if not found:
        raise InvalidInput(f"no tool has labelled {list(aspects)} in {application!r} yet: POST /v1/pseudo-labels")
    return tuple(sorted(found))


def _check_images(session: Session, application: str, image_ids: Sequence[UUID]) -> None:
    """Check that the images are the application's, and belong to no single user: experts may see only those."""
    ids, found = sorted(set(image_ids)), set[UUID]()
    for start in range(0, len(ids), _IN_BATCH):
        query = sa.select(ImageRow.id).where(
            ImageRow.id.in_(ids[start : start + _IN_BATCH]),
            ImageRow.application == application,
            ImageRow.owner_id.is_(None),
        )
        found |= set(session.execute(query).scalars())
    if missing := sorted(set(ids) - found):
        raise NotFound(f"image {missing[0]} does not exist, or belongs to a single user and cannot be reviewed")


def _deal(
    new: NewBatch, expert_ids: Sequence[UUID], image_ids: Sequence[UUID], value: dict[UUID, float]
) -> dict[UUID, list[UUID]]:
    """Every expert's images, in the order of review."""
    rng = np.random.default_rng(new.seed)
    drawn = [image_ids[i] for i in rng.permutation(len(image_ids))]
    if new.order == ReviewOrder.VALUE:
        drawn.sort(key=lambda image_id: -value[image_id])  # stable: images of equal value stay in random order
    drawn = drawn[: new.limit]
    num_shared = round(new.overlap * len(drawn))
    is_shared = np.isin(np.arange(len(drawn)), rng.permutation(len(drawn))[:num_shared])
    queues: dict[UUID, list[UUID]] = {expert_id: [] for expert_id in expert_ids}
    dealt = 0
    for image_id, shared in zip(drawn, is_shared.tolist(), strict=True):
        if shared:
            for queue in queues.values():
                queue.append(image_id)
        else:
            queues[expert_ids[dealt % len(expert_ids)]].append(image_id)
            dealt += 1
    return queues


def _write(
    session: Session,
    new: NewBatch,
    tools: Sequence[str],
    queues: dict[UUID, list[UUID]],
    shown: dict[UUID, dict[str, Any]],
    value: dict[UUID, float],
    actor: str,
) -> ReviewBatchRow:
    ids = sorted({image_id for queue in queues.values() for image_id in queue})
    existing = set(
        session.execute(
            sa.select(UserRow.id)
            .where(UserRow.id.in_(queues))
            .order_by(UserRow.id)
            .with_for_update(read=True, key_share=True)
        ).scalars()
    )
    for start in range(0, len(ids), _IN_BATCH):
        batch = ids[start : start + _IN_BATCH]
        query = sa.select(ImageRow.id).where(ImageRow.id.in_(batch)).order_by(ImageRow.id)
        existing |= set(session.execute(query.with_for_update(read=True, key_share=True)).scalars())
    if (set(queues) | set(ids)) - existing:
        raise Conflict("an expert or an image was erased while the batch was made: try again")
    now = utcnow()
    row = ReviewBatchRow(
        id=new_id(),
        application=new.application,
        name=new.name,
        tools=sorted(tools),
        order=new.order,
        seed=new.seed,
        actor=actor,
        created_at=now,
    )
    session.add(row)
    session.flush()
    reviews = [
        {
            "id": new_id(),
            "batch_id": row.id,
            "expert_id": expert_id,
            "image_id": image_id,
            "position": position,
            "expected_value": value[image_id],
            "shown": shown[image_id],
            "state": ReviewState.OPEN,
            "created_at": now,
        }
        for expert_id, queue in queues.items()
        for position, image_id in enumerate(queue)
    ]
    session.execute(sa.insert(ReviewRow), reviews)
    audit.record(session, actor=actor, action="review_batch_made", subject_id=row.id)
    return row
