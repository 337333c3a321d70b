"""AI tools, their pseudo labels, and their revisions learned from reviews."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Path, Query

from paaplus.api.cursors import Cursor
from paaplus.api.dependencies import ApplicationKey, Context, Limit, ReadSession, VersionPath, WriteSession
from paaplus.api.routing import router_of
from paaplus.api.schemas.common import Page
from paaplus.api.schemas.tools import (
    LabelsIn,
    LabelsJobOut,
    PrecomputedIn,
    PrecomputedOut,
    PseudoLabelOut,
    RevisionIn,
    RevisionOut,
    ToolName,
    ToolOut,
    ToolsOut,
)
from paaplus.api.schemas.users import Application
from paaplus.db.tables import ToolRevisionRow
from paaplus.errors import InvalidInput
from paaplus.services.predictions.serving_store import ServingStore
from paaplus.services.reviews import ordering, pseudo_labels, tool_learning, tool_revisions
from paaplus.services.reviews import tools as tools_service
from paaplus.services.users.keys import application_of
from paaplus.tools.tool import Judgement

router = router_of("/v1", "tools and pseudo labels")

ToolPath = Annotated[ToolName, Path(examples=["generic"])]
ForApplication = Annotated[Application | None, Query(description="Needed with an admin key.")]


@router.get("/tools")
def list_tools(key: ApplicationKey, context: Context, session: ReadSession) -> ToolsOut:
    """The AI tools of this deployment."""
    tools = tools_service.list_tools(session, context.blobs, context.settings)
    return ToolsOut(items=[ToolOut.model_validate(tool) for tool in tools])


@router.post("/pseudo-labels", status_code=202)
def request_labels(body: LabelsIn, key: ApplicationKey, context: Context, session: WriteSession) -> LabelsJobOut:
    """Ask a worker to label images. Images that the same tool version has labelled are left out."""
    job_id = pseudo_labels.request(
        session,
        application=application_of(key, body.application),
        tools=body.tools,
        image_ids=body.images,
        settings=context.settings,
    )
    return LabelsJobOut(job_id=job_id)


@router.post("/pseudo-labels/precomputed")
def add_precomputed(body: PrecomputedIn, key: ApplicationKey, session: WriteSession) -> PrecomputedOut:
    """Store scores that were computed elsewhere, all or none. Posting the same scores again changes nothing."""
    labels = {one.image: Judgement(one.scores, dict.fromkeys(one.scores, one.confidence)) for one in body.labels}
    if len(labels) != len(body.labels):
        raise InvalidInput(f"{len(body.labels)} labels of {len(labels)} images: an image is named twice")
    stored = pseudo_labels.add_precomputed(
        session,
        application=application_of(key, body.application),
        tool=body.tool,
        version=body.version,
        labels=labels,
    )
    return PrecomputedOut(new=stored.num_new, known=stored.num_known)


@router.get("/pseudo-labels")
def list_labels(
    key: ApplicationKey,
    session: ReadSession,
    cursor: Cursor,
    image: Annotated[UUID | None, Query(description="Only labels of this image.")] = None,
    tool: Annotated[ToolName | None, Query(description="Only labels of this tool.")] = None,
    limit: Limit = 50,
) -> Page[PseudoLabelOut]:
    """The tools' pseudo labels, uncalibrated, of the images that the key may see."""
    rows = pseudo_labels.list_labels(session, key, image_id=image, tool=tool, limit=limit, before=cursor.after)
    return Page(items=[PseudoLabelOut.model_validate(row) for row in rows], next_cursor=cursor.next(rows, limit))


@router.get("/tools/{tool}/revisions")
def list_revisions(
    tool: ToolPath,
    key: ApplicationKey,
    session: ReadSession,
    cursor: Cursor,
    application: ForApplication = None,
    limit: Limit = 50,
) -> Page[RevisionOut]:
    """Revisions of the tool, learned from reviews. The newest that is not retired is used for the next batch."""
    rows = tool_revisions.list_revisions(
        session, application=key.application or application, tool=tool, limit=limit, before=cursor.after
    )
    return Page(items=[_answer(row) for row in rows], next_cursor=cursor.next(rows, limit))


@router.post("/tools/{tool}/revisions", status_code=201)
def learn_revision(tool: ToolPath, body: RevisionIn, key: ApplicationKey, context: Context) -> RevisionOut:
    """Learn a revision from the application's reviews of this tool's labels.

    Without new reviews, the answer is the revision in force.

    Open reviews are then ordered again. The latest 2,000 reviews are used; the answer takes about a quarter of a second
    for each aspect.
    """
    application = application_of(key, body.application)
    store = ServingStore(context.database, context.blobs, context.settings)
    row = tool_learning.learn(context.database, store, application=application, tool=tool, actor=key.actor)
    ordering.rerank(context.database, store, application)
    return _answer(row)


@router.post("/tools/{tool}/revisions/{number}/retire")
def retire_revision(
    tool: ToolPath, number: VersionPath, body: RevisionIn, key: ApplicationKey, session: WriteSession
) -> RevisionOut:
    """Retire a revision. The revision before it is used again."""
    application = application_of(key, body.application)
    return _answer(tool_revisions.retire(session, application=application, tool=tool, version=number, actor=key.actor))


def _answer(row: ToolRevisionRow) -> RevisionOut:
    names = set(RevisionOut.model_fields) - {"has_reward_head"}
    return RevisionOut(**{name: getattr(row, name) for name in names}, has_reward_head=row.base_model_id is not None)
