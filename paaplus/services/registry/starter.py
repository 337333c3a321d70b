"""The starter base model: registered where a deployment has no base model of its own."""

from __future__ import annotations

from typing import Final

from sqlalchemy.orm import Session

from paaplus import starter as shipped
from paaplus.db.engine import Database
from paaplus.db.tables import BaseModelRow
from paaplus.services.registry import base_models, taste_priors
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore

NAME: Final = shipped.NAME
ACTOR: Final = "starter"


def ensure(database: Database, blobs: BlobStore, settings: Settings) -> BaseModelRow:
    """The default base model. Without one, the starter and its taste prior are registered first, and are the default.

    Afterwards call `images.request_features` for the existing images.

    Raises:
        InvalidInput: `default_base_model` is neither a name nor name@version.
        Unavailable: `default_base_model` names another base model, which does not exist.
    """
    with database.read_session() as session:
        row = base_models.find_default(session, settings)
    if row is not None:
        return row
    name, _, version = settings.default_base_model.partition("@")
    with database.session() as session:
        if name in ("", NAME) and version in ("", "1"):
            _register(session, blobs)
        return base_models.default(session, settings)


def is_shipped(base_model: BaseModelRow) -> bool:
    """True if a base model is the starter of this version of the package."""
    return base_model.digest == shipped.load().base.digest


def card() -> str:
    """The starter's card, as Markdown."""
    return shipped.load().card


def _register(session: Session, blobs: BlobStore) -> None:
    made = shipped.load()
    row = base_models.register(session, blobs, made.base, made.config, made.base_metrics)
    taste_priors.register(
        session,
        blobs,
        made.prior,
        row,
        source=str(made.config["source"]),
        metrics=made.prior_metrics,
        actor=ACTOR,
    )
