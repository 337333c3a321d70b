"""Liveness, readiness and metrics for monitoring, without an API key."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from paaplus.api.dependencies import Context, Public
from paaplus.api.routing import Route
from paaplus.services.operations.readiness import State

router = APIRouter(tags=["health"], dependencies=[Public], route_class=Route)


class HealthOut(BaseModel):
    status: Literal["ok"]


class ReadyOut(BaseModel):
    status: Literal["ready", "not_ready"]
    database: State
    storage: State


@router.get("/healthz")
async def healthz() -> HealthOut:
    """Liveness: the process answers. Database and storage are not checked, because a restart would not repair them."""
    return HealthOut(status="ok")


@router.get("/readyz", responses={503: {"model": ReadyOut}})
def readyz(context: Context, response: Response) -> ReadyOut:
    """Readiness: database and storage answer, and can be written ("full": they cannot). Checked once a second."""
    database, storage = context.readiness.check()
    is_ready = database == storage == "ok"
    response.status_code = 200 if is_ready else 503
    return ReadyOut(status="ready" if is_ready else "not_ready", database=database, storage=storage)


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(context: Context, request: Request) -> Response:
    """Prometheus metrics."""
    address = request.client.host if request.client is not None else ""
    return Response(await context.scrapes.text(address), media_type="text/plain; version=0.0.4; charset=utf-8")
