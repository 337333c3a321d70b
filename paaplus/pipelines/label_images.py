"""The job that labels images by AI tools: in batches, each image once per tool and version.

Every batch is committed at once. If a tool cannot judge an image, the error is in the job's payload under `errors`, in
the log and in the summary; other images are not affected. Tools that need features wait for them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from uuid import UUID

import numpy as np
import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from paaplus import faults
from paaplus.db.tables import BaseModelRow, FeaturesRow, ImageRow, JobRow, PseudoLabelRow
from paaplus.errors import Damaged, InvalidInput, LeaseLost, NotFound, TrainingStopped
from paaplus.image_files import decode_image
from paaplus.pipelines.context import NotReady, Running, WorkerContext
from paaplus.queue import jobs
from paaplus.services.images import images
from paaplus.services.images.features import COLUMNS, StoredFeatures, delete_damaged, features_of, sorted_features
from paaplus.services.registry import base_models
from paaplus.services.reviews import pseudo_labels
from paaplus.services.reviews import tools as tools_service
from paaplus.tools.files import TOOL_FILES
from paaplus.tools.nima import NimaTool
from paaplus.tools.registry import ToolContext, build
from paaplus.tools.tool import Judgement, Need, Tool, ToolImage

log = structlog.get_logger(__name__)

FEATURES_WAIT_S = 2.0
MAX_STORED_ERRORS = 100


def run(running: Running) -> str:
    """Label images until every one has its labels, or for one round.

    Raises:
        InvalidInput: a tool does not exist, or its file is wrong.
        NotReady: the round is over, or the other labels wait for features.
        TrainingStopped: the worker stops, or lost the job.
        Unavailable: a tool needs a base model and there is none, or the storage does not answer.
    """
    tools = _tools(running.context, running.lease.payload["tools"])
    labelling = _LabellingRound(running, tools)
    labelling.run()
    with running.context.database.session() as session:
        labelling.store_errors(session)
        jobs.complete(session, running.lease)
    return f"{labelling.done} labels by {', '.join(tool.name for tool in tools)}; {len(labelling.errors)} errors"


class _LabellingRound:
    """One round of the job: for each tool, the images without its label, in order of their ids."""

    def __init__(self, running: Running, tools: Sequence[Tool]) -> None:
        self._running, self._tools, self._context = running, tools, running.context
        self._payload = running.lease.payload
        self.errors: dict[str, str] = dict(self._payload.get("errors", {}))  # of all rounds; the key is "TOOL IMAGE_ID"
        self.done = 0

    def run(self) -> None:
        settings = self._context.settings
        ends_at = self._running.round_ends_at()
        with self._context.database.read_session() as session:
            total = self._count(session) * len(self._tools)
            missing = {tool.name: self._count(session, tool) for tool in self._tools}
        self.done = total - sum(missing.values())
        self._running.progress(self.done, total)
        num_waiting = 0
        for tool in self._tools:
            after: UUID | None = None  # ids only rise, so that an image that cannot be judged is tried once
            while batch := self._next(tool, after):
                if self._running.should_stop():
                    raise TrainingStopped(f"stopped after {self.done} of {total} labels")
                num_waiting += self._label(tool, batch)
                after = batch[-1][0]
                self._running.progress(min(self.done, total), total)
                if time.monotonic() > ends_at and self._next(tool, after):
                    self._return_to_queue(f"{self.done} of {total} labels are done; other jobs are next", 0.0)
        if num_waiting:
            with self._context.database.session() as session:
                images.request_features(session, None, settings)
            self._return_to_queue(f"{num_waiting} labels wait for features", FEATURES_WAIT_S)

    def store_errors(self, session: Session) -> None:
        """Store the errors in the job's payload.

        Raises:
            LeaseLost: another worker has the job.
        """
        stored = dict(list(self.errors.items())[:MAX_STORED_ERRORS])
        lease = self._running.lease
        result = session.execute(
            sa.update(JobRow)
            .where(JobRow.id == lease.job_id, JobRow.lease_token == lease.token)
            .values(payload=self._payload | {"errors": stored, "num_errors": len(self.errors)})
        )
        if int(result.rowcount) != 1:  # type: ignore[attr-defined]
            raise LeaseLost(f"job {lease.job_id}: the lease is held by another worker now")

    def _return_to_queue(self, note: str, delay_s: float) -> None:
        with self._context.database.session() as session:
            self.store_errors(session)
        raise NotReady(note, delay_s)

    def _images(self) -> list[sa.ColumnElement[bool]]:
        of_application = ImageRow.application == self._payload["application"]
        image_ids = self._payload["image_ids"]
        if image_ids is None:
            return [of_application, ImageRow.owner_id.is_(None)]
        return [of_application, ImageRow.id.in_([UUID(image_id) for image_id in image_ids])]

    def _unlabelled(self, tool: Tool) -> sa.ColumnElement[bool]:
        return ~sa.exists().where(
            PseudoLabelRow.image_id == ImageRow.id,
            PseudoLabelRow.tool == tool.name,
            PseudoLabelRow.tool_version == tool.version,
        )

    def _count(self, session: Session, unlabelled_by: Tool | None = None) -> int:
        query = sa.select(sa.func.count()).select_from(ImageRow).where(*self._images())
        if unlabelled_by is not None:
            query = query.where(self._unlabelled(unlabelled_by))
        return int(session.execute(query).scalar_one())

    def _next(self, tool: Tool, after: UUID | None) -> list[tuple[UUID, str]]:
        query = (
            sa.select(ImageRow.id, ImageRow.sha256)
            .where(*self._images(), self._unlabelled(tool))
            .order_by(ImageRow.id)
            .limit(self._context.settings.features_batch_size)
        )
        if after is not None:
            query = query.where(ImageRow.id > after)
        with self._context.database.read_session() as session:
            return [(image_id, sha256) for image_id, sha256 in session.execute(query)]

    def _label(self, tool: Tool, batch: list[tuple[UUID, str]]) -> int:
        """Label a batch. Returns the number of its images that wait for features."""
        inputs: dict[UUID, ToolImage] = {}
        num_waiting = 0
        features = self._features(tool, batch)
        for image_id, sha256 in batch:
            try:
                if tool.need == Need.FEATURES:
                    if image_id not in features:
                        num_waiting += 1
                        continue
                    inputs[image_id] = ToolImage(features_D=features[image_id]())
                else:
                    data = self._context.blobs.get(sha256)
                    inputs[image_id] = ToolImage(image=decode_image(data, self._context.settings.max_image_pixels))
            except (Damaged, InvalidInput, NotFound) as error:  # no retry: the stored bytes do not change
                self._add_error(tool, image_id, error)
        judgements = self._judge(tool, inputs)
        with self._context.database.session() as session:
            pseudo_labels.store(session, tool.name, tool.version, judgements)
        faults.point("labels_stored")
        self.done += len(judgements)
        for image_id in judgements:  # it may have failed in an earlier round
            self.errors.pop(f"{tool.name} {image_id}", None)
        return num_waiting

    def _judge(self, tool: Tool, inputs: dict[UUID, ToolImage]) -> dict[UUID, Judgement]:
        try:
            return dict(zip(inputs, tool.score(list(inputs.values())), strict=True))
        except InvalidInput:  # one of them is refused: the scores of the others do not depend on the batch
            judgements = {}
            for image_id, image in inputs.items():
                try:
                    judgements[image_id] = tool.score([image])[0]
                except InvalidInput as error:
                    self._add_error(tool, image_id, error)
            return judgements

    def _features(self, tool: Tool, batch: list[tuple[UUID, str]]) -> dict[UUID, Callable[[], np.ndarray]]:
        """For every extracted image, a function that returns its features or raises the error of the extraction."""
        if tool.need != Need.FEATURES:
            return {}
        with self._context.database.read_session() as session:
            base_row = base_models.default(session, self._context.settings)
            rows = session.execute(
                sa.select(*COLUMNS).where(
                    FeaturesRow.extractor_digest == base_row.extractor_digest,
                    FeaturesRow.image_id.in_([image_id for image_id, _ in batch]),
                )
            ).all()
        stored = [StoredFeatures(*row) for row in rows]
        damaged = sorted_features(stored, base_row.feature_dim).damaged
        if damaged:  # extracted again, so these labels wait
            with self._context.database.session() as session:
                delete_damaged(session, base_row.extractor_digest, damaged)
                images.request_features(session, damaged, self._context.settings)
        gone = set(damaged)
        return {
            one.image_id: partial(features_of, one, base_row.feature_dim) for one in stored if one.image_id not in gone
        }

    def _add_error(self, tool: Tool, image_id: UUID, error: Exception) -> None:
        log.warning("image not labelled", tool=tool.name, image_id=str(image_id), error=str(error))
        self.errors[f"{tool.name} {image_id}"] = f"{type(error).__name__}: {error}"[:300]


def _tools(context: WorkerContext, names: Sequence[str]) -> list[Tool]:
    """The tools of the job."""
    with context.database.read_session() as session:
        base_row = base_models.find_default(session, context.settings)
    base = base_models.load(context.blobs, base_row) if base_row is not None else None
    nima: NimaTool | None = None
    if "nima" in names and context.settings.nima_file is not None:
        nima = _nima(context, context.settings.nima_file, base_row)
    networks = {name: _network(context, name) for name in names if name in TOOL_FILES}
    return [build(name, ToolContext(base, nima, networks=networks)) for name in names]


def _network(context: WorkerContext, name: str) -> Tool:
    from paaplus.models.siblings.load import load_tool  # several networks' code, which few deployments need here

    return load_tool(context.settings.home, name, context.device)


def _nima(context: WorkerContext, file: Path, base_row: BaseModelRow | None) -> NimaTool | None:
    if tools_service.is_whole_network(file):
        from paaplus.models.nima import load_network  # imported here, because few deployments need torchvision

        return load_network(file, context.settings.nima_aspect, context.device)
    if base_row is None:
        return None
    return tools_service.nima_head(context.settings, base_row.extractor_digest)
