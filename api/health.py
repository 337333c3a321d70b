"""Liveness, readiness and metrics for monitoring, without an API key."""

from __future__ import annotations

from typing import Literal

import sqlalchemy as sa
import structlog
from fastapi import APIRouter, Response
from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError

from paaplus.api.dependencies import Context, Public
from paaplus.errors import Unavailable

router = APIRouter(tags=["health"], dependencies=[Public])
log = structlog.get_logger(__name__)

NO_BLOB = "0" * 64


class HealthOut(BaseModel):
    status: Literal["ok"]


class ReadyOut(BaseModel):
    status: Literal["ready", "not_ready"]
    database: Literal["ok", "away"]
    storage: Literal["ok", "away"]


@router.get("/healthz")
async def healthz() -> HealthOut:
    """Liveness: the process answers. Database and storage are not checked, because a restart would not repair them."""
    return HealthOut(status="ok")


@router.get("/readyz", responses={503: {"model": ReadyOut}})
def readyz(context: Context, response: Response) -> ReadyOut:
    """Readiness: database and storage answer."""
    database, storage = _database_state(context), _storage_state(context)
    is_ready = database == storage == "ok"
    response.status_code = 200 if is_ready else 503
    return ReadyOut(status="ready" if is_ready else "not_ready", database=database, storage=storage)


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def metrics(context: Context) -> Response:
    """Prometheus metrics."""
    return Response(context.metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _database_state(context: Context) -> Literal["ok", "away"]:
    try:
        with context.database.read_session() as session:
            session.execute(sa.select(1))
    except SQLAlchemyError as error:
        log.warning("not_ready", what="database", error=type(error).__name__)
        return "away"
    return "ok"


def _storage_state(context: Context) -> Literal["ok", "away"]:
    try:
        context.blobs.exists(NO_BLOB)
    except Unavailable as error:
        log.warning("not_ready", what="storage", error=str(error))
        return "away"
    return "ok"
