"""Base models, which give the generic scores."""

from __future__ import annotations

from fastapi import APIRouter

from paaplus.api.dependencies import ReadSession, UserKey
from paaplus.api.routing import Route
from paaplus.api.schemas.base_models import BaseModelOut, BaseModelsOut
from paaplus.services.registry import base_models as base_models_service

router = APIRouter(prefix="/v1/base-models", tags=["base models"], route_class=Route)


@router.get("")
def list_base_models(_key: UserKey, session: ReadSession) -> BaseModelsOut:
    """All base models."""
    rows = base_models_service.list_base_models(session)
    return BaseModelsOut(items=[BaseModelOut.model_validate(row) for row in rows])
