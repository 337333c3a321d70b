"""What forked processes do (see `tests.support.forks`): each opens its own doors, and may be killed anywhere."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from starlette.testclient import TestClient

from paaplus.api.app import create_app
from paaplus.db.engine import Database
from paaplus.pipelines import extract_features
from paaplus.pipelines.context import WorkerContext
from paaplus.pipelines.run_jobs import run_next
from paaplus.services import scheduling
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore
from tests.support.tiny import FEATURE_DIM

torch.set_num_threads(1)


class FlatExtractor:
    """A small real extractor: the mean shade, repeated."""

    name, feature_dim, digest = "flat", FEATURE_DIM, "e" * 64

    def extract(self, images: list[Image.Image]) -> np.ndarray:
        return np.stack([np.full(FEATURE_DIM, np.asarray(image).mean() / 255, np.float16) for image in images])


def work(settings: Settings) -> None:
    """Like a worker process: look for due users, run what is ready."""
    extract_features.cached_extractor = lambda *_: FlatExtractor()  # type: ignore[assignment]
    database = Database(settings.resolved_database_url)
    context = WorkerContext(database, BlobStore(settings.resolved_storage_url), settings, worker="fork")
    scheduling.scan(database, settings)
    while run_next(context, ["cpu"]):
        pass


def request(settings: Settings, key: str, method: str, path: str, body: Any = None) -> Any:
    """Like an API process: answer one request; the JSON of a good answer."""
    with TestClient(create_app(settings)) as client:
        answer = client.request(method, path, json=body, headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code < 300, answer.text
    return answer.json() if answer.content else None


def work_until(settings: Settings, end: Path) -> None:
    """Like a worker process that is woken all the time, until the file `end` is there."""
    database = Database(settings.resolved_database_url)
    context = WorkerContext(database, BlobStore(settings.resolved_storage_url), settings, worker=f"fork:{os.getpid()}")
    while not end.exists():
        if not run_next(context, ["cpu"]):
            time.sleep(0.01)


def scan_until(settings: Settings, end: Path) -> None:
    """Like a scheduler in a hurry, until the file `end` is there."""
    database = Database(settings.resolved_database_url)
    while not end.exists():
        scheduling.scan(database, settings)
        time.sleep(0.02)
