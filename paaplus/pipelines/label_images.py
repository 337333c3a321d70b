"""Label images by AI tools, batch by batch, each image once per tool and version.

What is done stays done when the job is killed. An image that a tool cannot judge is told in the job's payload under
`errors`, in the log, and in the summary; the others go on. Tools that look at features wait for them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import UUID

import numpy as np
import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from paaplus import faults
from paaplus.db.tables import BaseModelRow, FeaturesRow, ImageRow, JobRow, PseudoLabelRow
from paaplus.errors import Damaged, InvalidInput, LeaseLost, NotFound, TrainingStopped
from paaplus.models.images import decode_image
from paaplus.pipelines.context import NotReady, Running, WorkerContext
from paaplus.queue import jobs
from paaplus.services.images import images
from paaplus.services.registry import base_models
from paaplus.services.reviews import pseudo_labels
from paaplus.services.reviews import tools as tools_service
from paaplus.tools.files import TOOL_FILES
from paaplus.tools.nima import NimaTool
from paaplus.tools.registry import ToolContext, build
from paaplus.tools.tool import Judgement, Need, Tool, ToolImage

log = structlog.get_logger(__name__)

MIN_ROUND_S = 10.0  # how long one claim works before others get their turn, see `extract_features`
ROUND_SCAN_INTERVALS = 5
FEATURES_DELAY_S = 2.0
MAX_ERRORS_TOLD = 100


def run(running: Running) -> str:
    """Label until nothing is left, or for one round.

    Raises:
        InvalidInput: a tool that does not exist, or whose file is wrong.
        NotReady: the round is over, or what is left waits for features.
        TrainingStopped: the worker stops, or has lost the job.
        Unavailable: there is no base model for a tool that needs one, or the storage does not answer.
    """
    tools = _tools(running.context, running.lease.payload["tools"])
    work = _Work(running, tools)
    work.go_on()
    with running.context.database.session() as session:
        work.keep_errors(session)
        jobs.complete(session, running.lease)
    return f"{work.done} labels by {', '.join(tool.name for tool in tools)}; {len(work.errors)} errors"


class _Work:
    """One claim's work: every pair of an image and a tool that has no label yet, in order of images."""

    def __init__(self, running: Running, tools: Sequence[Tool]) -> None:
        self._running, self._tools, self._context = running, tools, running.context
        self._payload = running.lease.payload
        self.errors: dict[str, str] = dict(self._payload.get("errors", {}))  # "tool image id": why, from all rounds
        self.done = 0

    def go_on(self) -> None:
        settings = self._context.settings
        ends_at = time.monotonic() + max(MIN_ROUND_S, ROUND_SCAN_INTERVALS * settings.scan_interval_s)
        with self._context.database.read_session() as session:
            total = self._count(session) * len(self._tools)
            missing = {tool.name: self._count(session, tool) for tool in self._tools}
        self.done = total - sum(missing.values())
        self._running.progress(self.done, total)
        num_waiting = 0
        for tool in self._tools:
            after: UUID | None = None  # forward only, so that an image that cannot be judged is met once
            while batch := self._next(tool, after):
                if self._running.should_stop():
                    raise TrainingStopped(f"stopped after {self.done} of {total} labels")
                num_waiting += self._label(tool, batch)
                after = batch[-1][0]
                self._running.progress(min(self.done, total), total)
                if time.monotonic() > ends_at and self._next(tool, after):
                    self._give_way(f"{self.done} of {total} labels are done; others' turn", 0.0)
        if num_waiting:
            with self._context.database.session() as session:
                images.request_features(session, None, settings)
            self._give_way(f"{num_waiting} labels wait for features", FEATURES_DELAY_S)

    def keep_errors(self, session: Session) -> None:
        """Write what could not be judged into the job's payload, if the job is still ours."""
        kept = dict(list(self.errors.items())[:MAX_ERRORS_TOLD])
        lease = self._running.lease
        result = session.execute(
            sa.update(JobRow)
            .where(JobRow.id == lease.job_id, JobRow.lease_token == lease.token)
            .values(payload=self._payload | {"errors": kept, "num_errors": len(self.errors)})
        )
        if int(result.rowcount) != 1:  # type: ignore[attr-defined]
            raise LeaseLost(f"job {lease.job_id}: the lease is held by another worker now")

    def _give_way(self, note: str, delay_s: float) -> None:
        with self._context.database.session() as session:
            self.keep_errors(session)
        raise NotReady(note, delay_s)

    def _images(self) -> list[sa.ColumnElement[bool]]:
        of_application = ImageRow.application == self._payload["application"]
        wanted = self._payload["image_ids"]
        if wanted is None:
            return [of_application, ImageRow.owner_id.is_(None)]
        return [of_application, ImageRow.id.in_([UUID(image_id) for image_id in wanted])]

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
        """Label a batch; how many of it wait for features."""
        seen: dict[UUID, ToolImage] = {}
        num_waiting = 0
        features = self._features(tool, batch)
        for image_id, sha256 in batch:
            try:
                if tool.need == Need.FEATURES:
                    if image_id not in features:
                        num_waiting += 1
                        continue
                    seen[image_id] = ToolImage(features_D=features[image_id]())
                else:
                    data = self._context.blobs.get(sha256)
                    seen[image_id] = ToolImage(image=decode_image(data, self._context.settings.max_image_pixels))
            except (Damaged, InvalidInput, NotFound) as error:  # the stored bytes will not change
                self._tell(tool, image_id, error)
        judgements = self._judge(tool, seen)
        with self._context.database.session() as session:
            pseudo_labels.store(session, tool.name, tool.version, judgements)
        faults.point("labels_stored")
        self.done += len(judgements)
        for image_id in judgements:  # an earlier round may have had no luck with it
            self.errors.pop(f"{tool.name} {image_id}", None)
        return num_waiting

    def _judge(self, tool: Tool, seen: dict[UUID, ToolImage]) -> dict[UUID, Judgement]:
        try:
            return dict(zip(seen, tool.score(list(seen.values())), strict=True))
        except InvalidInput:  # of one of them: the others get the same numbers without it
            judgements = {}
            for image_id, one in seen.items():
                try:
                    judgements[image_id] = tool.score([one])[0]
                except InvalidInput as error:
                    self._tell(tool, image_id, error)
            return judgements

    def _features(self, tool: Tool, batch: list[tuple[UUID, str]]) -> dict[UUID, Callable[[], np.ndarray]]:
        """Of every image that has been through the extractor, what gives its features, or raises why there are none."""
        if tool.need != Need.FEATURES:
            return {}
        with self._context.database.read_session() as session:
            base_row = base_models.default(session, self._context.settings)
            rows = session.execute(
                sa.select(FeaturesRow.image_id, FeaturesRow.data, FeaturesRow.error).where(
                    FeaturesRow.extractor_digest == base_row.extractor_digest,
                    FeaturesRow.image_id.in_([image_id for image_id, _ in batch]),
                )
            ).all()
        return {image_id: _reader(base_row, data, error) for image_id, data, error in rows}

    def _tell(self, tool: Tool, image_id: UUID, error: Exception) -> None:
        log.warning("image not labelled", tool=tool.name, image_id=str(image_id), error=str(error))
        self.errors[f"{tool.name} {image_id}"] = f"{type(error).__name__}: {error}"[:300]


def _reader(base_row: BaseModelRow, data: bytes | None, error: str | None) -> Callable[[], np.ndarray]:
    def read() -> np.ndarray:
        if data is None:
            raise InvalidInput(error or "no features")
        features_D = np.frombuffer(data, np.float16)
        if len(features_D) != base_row.feature_dim or not np.isfinite(features_D).all():
            raise InvalidInput(f"{len(data)} bytes of features that are not {base_row.feature_dim} finite numbers")
        return features_D

    return read


def _tools(context: WorkerContext, names: Sequence[str]) -> list[Tool]:
    """The tools, built once for the whole claim."""
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
        from paaplus.models.nima import load_network  # torchvision, which few deployments need here

        return load_network(file, context.settings.nima_aspect, context.device)
    if base_row is None:
        return None
    return tools_service.nima_head(context.settings, base_row.extractor_digest)
