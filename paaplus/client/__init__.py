"""The Python client of the HTTP API: `Client`, and `AsyncClient` for asyncio. It loads no torch and no database.

    from paaplus.client import Client

    with Client("http://127.0.0.1:8000", KEY) as client:
        client.make_user("anna")
        for place in client.rank("anna", "photos/"):
            print(place.number, place.file, place.score)

docs/client.md has the whole tour.
"""

from paaplus.client.answers import (
    Audience,
    BaseModel,
    Confidence,
    Delivery,
    Feedback,
    FeedbackBatch,
    FeedbackItem,
    HistoryEntry,
    Image,
    Job,
    NewKey,
    NewWebhook,
    PointerChange,
    Prediction,
    RankedImage,
    Ranking,
    ScoreColumns,
    ScoredUser,
    ServedAdapter,
    User,
    UserEvent,
    Version,
    Webhook,
)
from paaplus.client.async_client import AsyncClient
from paaplus.client.calls import NotInTime, NotReached, RequestFailed, Retries
from paaplus.client.ranking import Place
from paaplus.client.sync_client import Client
from paaplus.signatures import InvalidSignature, verify

__all__ = [
    "AsyncClient",
    "Audience",
    "BaseModel",
    "Client",
    "Confidence",
    "Delivery",
    "Feedback",
    "FeedbackBatch",
    "FeedbackItem",
    "HistoryEntry",
    "Image",
    "InvalidSignature",
    "Job",
    "NewKey",
    "NewWebhook",
    "NotInTime",
    "NotReached",
    "Place",
    "PointerChange",
    "Prediction",
    "RankedImage",
    "Ranking",
    "RequestFailed",
    "Retries",
    "ScoreColumns",
    "ScoredUser",
    "ServedAdapter",
    "User",
    "UserEvent",
    "Version",
    "Webhook",
    "verify",
]
