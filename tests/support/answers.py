"""Answers of the HTTP API as a made-up server gives them: every field that the client reads."""

from __future__ import annotations

from typing import Any

NOW = "2026-11-28T10:00:00+00:00"


def image_of(image_id: str) -> dict[str, Any]:
    known = {"sha256": "0" * 64, "width_px": 8, "height_px": 8, "size_bytes": 9, "media_type": "image/jpeg"}
    empty = dict.fromkeys(("name", "theme", "owner_id", "job_id", "error"))
    return {"id": image_id, "created_at": NOW, "features": "pending", **known, **empty}


def prediction_of(image_id: str, status: str) -> dict[str, Any]:
    scores = {"beauty": 5.0} if status == "scored" else None
    empty = dict.fromkeys(("source", "source_reason", "adapter", "confidence", "receipt_id", "job_id", "retry_after_s"))
    return {"user_id": "u", "image_id": image_id, "status": status, "scores": scores, "generic": scores, **empty,
            "error": None}  # fmt: skip


def user_of(user: str, *, feedback: int, trained: int) -> dict[str, Any]:
    empty = dict.fromkeys(("active_adapter", "next_due_at", "due_reason", "last_trained_at"))
    flags = {"policy": {}, "policy_overrides": {}, "pinned": False, "shares_taste": True}
    counts = {"feedback_sequence": feedback, "trained_sequence": trained, "pending_feedback": feedback - trained}
    return {"id": user, "external_id": user, "application": "demo", "created_at": NOW, **flags, **counts, **empty}


def event_item(status: str, message: str | None = None) -> dict[str, Any]:
    error = {"code": "not_found", "message": message} if message else None
    return {"index": 0, "event_id": "e", "status": status, "sequence": 1, "trains": True, "error": error}


def job_of(job_id: str, state: str, error: str | None = None) -> dict[str, Any]:
    return {"id": job_id, "kind": "label", "state": state, "reason": "a test", "user_id": None, "last_error": error,
            "created_at": NOW}  # fmt: skip
