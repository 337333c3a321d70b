"""Base models, which give the generic scores."""

from __future__ import annotations

from paaplus.api.dependencies import ReadSession, UserKey
from paaplus.api.routing import router_of
from paaplus.api.schemas.base_models import BaseModelOut, BaseModelsOut
from paaplus.services.registry import base_models as base_models_service

router = router_of("/v1/base-models", "base models")


@router.get("")
def list_base_models(_key: UserKey, session: ReadSession) -> BaseModelsOut:
    """All base models."""
    rows = base_models_service.list_base_models(session)
    return BaseModelsOut(items=[BaseModelOut.model_validate(row) for row in rows])
