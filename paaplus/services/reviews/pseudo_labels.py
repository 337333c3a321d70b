"""Pseudo labels: request them from tools, import precomputed ones, and read them. Stored as the tool gave them."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.tables import ImageRow, PseudoLabelRow, ReviewRow
from paaplus.db.tables.jobs import JobKind
from paaplus.db.tables.reviews import ReviewState
from paaplus.db.types import utcnow
from paaplus.db.upsert import insert_ignoring_conflicts
from paaplus.errors import Conflict, InvalidInput, NotFound
from paaplus.ids import new_id, sha256_hex
from paaplus.queue import jobs
from paaplus.services.images.images import visible_images
from paaplus.services.names import check_application
from paaplus.services.reviews import tools as tools_service
from paaplus.services.users.keys import Principal
from paaplus.settings import Settings
from paaplus.tools import precomputed
from paaplus.tools.tool import Judgement

MAX_IMAGES = 10_000  # named in one request
PRIORITY = 6  # after trainings
_IN_BATCH = 500  # ids in one statement
_LATEST = 20  # labels that are read to find which aspects a tool scores; some may be empty


@dataclass(frozen=True, slots=True)
class StoredCounts:
    """Numbers of stored labels: new ones, and ones that were stored already."""

    num_new: int
    num_known: int


def request(
    session: Session,
    *,
    application: str,
    tools: Sequence[str],
    image_ids: Sequence[UUID] | None,
    settings: Settings,
) -> UUID:
    """Enqueue a job that labels images by tools; returns its id. Existing labels are not computed again.

    Args:
        image_ids: images of the application; None: all that belong to no single user.

    Raises:
        InvalidInput: a tool cannot run here, the application has no image, or there are too many images.
        NotFound: an image does not exist in this application.
    """
    check_application(application)
    tools_service.check_runnable(list(tools), settings)
    wanted = None
    if image_ids is not None:
        found = _images_of(session, application, image_ids)
        wanted = [str(image_id) for image_id in sorted(found)]
    elif session.execute(sa.select(ImageRow.id).where(ImageRow.application == application).limit(1)).first() is None:
        raise InvalidInput(f"application {application!r} has no image to label")
    payload = {"application": application, "tools": sorted(tools), "image_ids": wanted}
    digest = sha256_hex(json.dumps(payload, sort_keys=True).encode())
    return jobs.enqueue(
        session,
        JobKind.LABEL_IMAGES,
        f"label:{digest}",  # one job for equal requests, another job for every other request
        queue=settings.features_queue,
        reason="labels_requested",
        payload=payload,
        max_attempts=settings.max_attempts,
        priority=PRIORITY,
    )


def add_precomputed(
    session: Session, *, application: str, tool: str, version: str, labels: Mapping[UUID, Judgement]
) -> StoredCounts:
    """Import precomputed labels. Repeating it changes nothing.

    Raises:
        InvalidInput: the tool is not `precomputed` or `precomputed:SOURCE`, or there are too many images.
        NotFound: an image does not exist in this application.
        Conflict: this version of the tool has another label of an image.
    """
    precomputed.check_name(tool)
    _images_of(session, application, list(labels))
    return store(session, tool, version, labels, may_differ=False)


def store(
    session: Session, tool: str, version: str, labels: Mapping[UUID, Judgement], *, may_differ: bool = True
) -> StoredCounts:
    """Write labels of images that exist. The first label by a version of a tool stays.

    Args:
        may_differ: whether a second label may differ from the first: the last bits depend on the processor.

    Raises:
        Conflict: a label differs, and may not.
    """
    ids = sorted(labels)
    num_known = 0
    for start in range(0, len(ids), _IN_BATCH):
        batch = ids[start : start + _IN_BATCH]
        # Locked, so that no image is deleted before the insert.
        existing = set(
            session.execute(
                sa.select(ImageRow.id).where(ImageRow.id.in_(batch)).order_by(ImageRow.id).with_for_update(read=True)
            ).scalars()
        )
        known = {
            row.image_id: row
            for row in session.execute(
                sa.select(PseudoLabelRow).where(
                    PseudoLabelRow.image_id.in_(batch),
                    PseudoLabelRow.tool == tool,
                    PseudoLabelRow.tool_version == version,
                )
            ).scalars()
        }
        for image_id, row in known.items():
            new = labels[image_id]
            if not may_differ and (row.scores, row.confidences) != (new.scores, new.confidences):
                raise Conflict(
                    f"image {image_id} has the label {row.scores} by {tool} {version}, the new one is {new.scores}: "
                    "give other scores another version"
                )
        num_known += len(known)
        insert_ignoring_conflicts(
            session,
            PseudoLabelRow,
            [
                {
                    "id": new_id(),
                    "image_id": image_id,
                    "tool": tool,
                    "tool_version": version,
                    "scores": labels[image_id].scores,
                    "confidences": labels[image_id].confidences,
                    "created_at": utcnow(),
                }
                for image_id in batch
                if image_id in existing and image_id not in known
            ],
        )
    return StoredCounts(len(ids) - num_known, num_known)


def list_labels(
    session: Session,
    principal: Principal,
    *,
    image_id: UUID | None = None,
    tool: str | None = None,
    limit: int = 100,
    before: UUID | None = None,
) -> list[PseudoLabelRow]:
    """Labels of images that this principal may see, newest first.

    Raises:
        NotFound: no such image for this principal.
        InvalidInput: no such tool.
    """
    query = (
        sa.select(PseudoLabelRow)
        .join(ImageRow, ImageRow.id == PseudoLabelRow.image_id)
        .where(visible_images(principal))
        .order_by(PseudoLabelRow.id.desc())
        .limit(limit)
    )
    if image_id is not None:
        known = session.execute(sa.select(ImageRow.id).where(ImageRow.id == image_id, visible_images(principal)))
        if known.first() is None:
            raise NotFound(f"image {image_id} does not exist")
        query = query.where(PseudoLabelRow.image_id == image_id)
    if tool is not None:
        tools_service.check_exists(tool)
        query = query.where(PseudoLabelRow.tool == tool)
    if before is not None:
        query = query.where(PseudoLabelRow.id < before)
    return list(session.execute(query).scalars())


def newest(
    session: Session, image_ids: Collection[UUID], tools: Collection[str] | None
) -> dict[UUID, dict[str, PseudoLabelRow]]:
    """The newest label by image and tool, without labels that have no scores.

    Args:
        tools: of these tools; None: of every tool.
    """
    labels: dict[UUID, dict[str, PseudoLabelRow]] = {}
    ids = sorted(image_ids)
    for start in range(0, len(ids), _IN_BATCH):
        query = (
            sa.select(PseudoLabelRow)
            .where(PseudoLabelRow.image_id.in_(ids[start : start + _IN_BATCH]))
            .order_by(PseudoLabelRow.id)
        )
        if tools is not None:
            query = query.where(PseudoLabelRow.tool.in_(tools))
        for row in session.execute(query).scalars():
            if row.scores:
                labels.setdefault(row.image_id, {})[row.tool] = row
    return labels


def labelled_images(
    session: Session, application: str, tools: Collection[str], limit: int, *, not_before: Collection[UUID] = ()
) -> list[UUID]:
    """Shared images of the application that one of these tools has labelled, oldest first.

    Args:
        not_before: experts; images that one of them has had in a review, unless skipped, are left out.
    """
    labelled = sa.exists().where(PseudoLabelRow.image_id == ImageRow.id, PseudoLabelRow.tool.in_(tools))
    reviewed = sa.exists().where(
        ReviewRow.image_id == ImageRow.id,
        ReviewRow.expert_id.in_(not_before),
        ReviewRow.state != ReviewState.SKIPPED,
    )
    query = sa.select(ImageRow.id).where(ImageRow.application == application, ImageRow.owner_id.is_(None), labelled)
    if not_before:
        query = query.where(~reviewed)
    return list(session.execute(query.order_by(ImageRow.id).limit(limit)).scalars())


def tools_that_label(session: Session, application: str, aspects: Collection[str]) -> set[str]:
    """Tools whose latest labels of the application's images score one of these aspects."""
    of_application = sa.select(ImageRow.id).where(ImageRow.application == application)
    names = session.execute(
        sa.select(PseudoLabelRow.tool).where(PseudoLabelRow.image_id.in_(of_application)).distinct()
    ).scalars()
    found = set()
    for name in names:
        latest = session.execute(
            sa.select(PseudoLabelRow.scores)
            .where(PseudoLabelRow.tool == name, PseudoLabelRow.image_id.in_(of_application))
            .order_by(PseudoLabelRow.id.desc())
            .limit(_LATEST)
        ).scalars()
        if any(set(scores) & set(aspects) for scores in latest):
            found.add(name)
    return found


def _images_of(session: Session, application: str, image_ids: Sequence[UUID]) -> set[UUID]:
    """The ids as a set, after checking that all are images of the application."""
    wanted = set(image_ids)
    if not wanted or len(wanted) > MAX_IMAGES:
        raise InvalidInput(f"{len(wanted)} images; 1 to {MAX_IMAGES} may be named at once")
    ids, found = sorted(wanted), set[UUID]()
    for start in range(0, len(ids), _IN_BATCH):
        query = sa.select(ImageRow.id).where(
            ImageRow.id.in_(ids[start : start + _IN_BATCH]), ImageRow.application == application
        )
        found |= set(session.execute(query).scalars())
    if missing := sorted(wanted - found):
        raise NotFound(f"image {missing[0]} does not exist")
    return wanted
