"""Predictions as JSON, written without a model for each item: most of an answer is the same for all items of a user.

The texts have the fields of `PredictionsOut` and `PredictionColumnsOut` in their order; a test compares them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from paaplus.api.schemas.base_models import BaseModelRef
from paaplus.api.schemas.predictions import (
    ConfidenceOut,
    PredictionOut,
    UsedPreferenceOut,
)
from paaplus.services.predictions.answers import Answer, UserScores
from paaplus.services.predictions.serving import ServedAdapter


def items(answer: Answer, now: datetime) -> str:
    """The readable answer, `PredictionsOut`."""
    base_model = BaseModelRef.model_validate(answer.base_model)
    texts = [""] * answer.num_items
    for place, item in answer.unscored.items():
        texts[place] = PredictionOut.of(item, base_model, now).model_dump_json()
    by_aspect = ",".join(f"{_in_pattern(_dumped(aspect))}:%r" for aspect in answer.base_model.aspects)
    scores = f'"scores":{{{by_aspect}}},"generic":{{{by_aspect}}}'
    of_base = _in_pattern(base_model.model_dump_json())
    for user in answer.scored:
        pattern = (
            f'{{"user_id":"{user.user_id}","image_id":"%s","status":"scored",{scores},{_source(user)},'
            f'"adapter":{_adapter(user.adapter, now)},"confidence":%s,"preference":{_preference(user)},"branches":%s,'
            f'"match_id":{_match(user)},"base_model":{of_base},"receipt_id":%s,'
            '"job_id":null,"retry_after_s":null,"error":null}'
        )
        _write_items(texts, user, pattern)
    return f'{{"items":[{",".join(texts)}],"pending":{answer.num_pending},"receipts_stored":true}}'


def _write_items(texts: list[str], user: UserScores, pattern: str) -> None:
    """Write a user's items to their places.

    Args:
        texts: of all items of the answer.
        user: the items.
        pattern: what they have in common, for `%`.
    """
    for n, place in enumerate(user.places):
        branches = user.images[n].branches
        texts[place] = pattern % (
            user.image_ids[n],
            *user.score_NA[n],
            *user.generic_NA[n],
            "null" if user.confidences is None else ConfidenceOut.model_validate(user.confidences[n]).model_dump_json(),
            "null" if branches is None else _dumped(branches),
            "null" if user.receipts is None else f'"{user.receipts[n]}"',
        )


def _scored_user(user: UserScores, now: datetime) -> str:
    """A `ScoredUserOut`."""
    return (
        f'{{"user_id":"{user.user_id}",{_source(user)},"adapter":{_adapter(user.adapter, now)},'
        f'"preference":{_preference(user)},"match_id":{_match(user)}}}'
    )


# Ids, digests, numbers, times and the words of `Source` have no character that JSON or `%` would read.


def _source(user: UserScores) -> str:
    return f'"source":"{user.source}","source_reason":"{user.source_reason}"'


def _adapter(served: ServedAdapter | None, now: datetime) -> str:
    """A `ServedAdapterOut`."""
    if served is None:
        return "null"
    adapter_id, trained_at = served.texts
    age_s = max(0.0, (now - served.trained_at).total_seconds())
    return (
        f'{{"id":"{adapter_id}","number":{served.number},"digest":"{served.digest}","trained_at":"{trained_at}",'
        f'"age_s":{age_s!r}}}'
    )


def _preference(user: UserScores) -> str:
    """A `UsedPreferenceOut`."""
    if user.preference is None:
        return "null"
    return UsedPreferenceOut.model_validate(user.preference).model_dump_json()


def _match(user: UserScores) -> str:
    match_id = user.adapter.match_id if user.adapter is not None else None
    return "null" if match_id is None else f'"{match_id}"'


def _in_pattern(text: str) -> str:
    """A text as part of a pattern for `%`."""
    return text.replace("%", "%%")


def columns(answer: Answer, now: datetime) -> str:
    """The compact answer, `PredictionColumnsOut`."""
    base_model = BaseModelRef.model_validate(answer.base_model)
    aspects = answer.base_model.aspects
    nothing: list[Any] = [None] * answer.num_items
    user_N, receipt_N, branches_N = nothing.copy(), nothing.copy(), nothing.copy()
    scores = {aspect: nothing.copy() for aspect in aspects}
    generic = {aspect: nothing.copy() for aspect in aspects}
    spread = {kind: {aspect: nothing.copy() for aspect in aspects} for kind in ("score_sd", "rating_sd")}
    for number, user in enumerate(answer.scored):
        for n, place in enumerate(user.places):
            user_N[place] = number
            for aspect, score, of_base in zip(aspects, user.score_NA[n], user.generic_NA[n], strict=True):
                scores[aspect][place], generic[aspect][place] = score, of_base
            if user.receipts is not None:
                receipt_N[place] = user.receipts[n]
            branches_N[place] = user.images[n].branches
            if user.confidences is not None:
                for aspect in aspects:
                    spread["score_sd"][aspect][place] = user.confidences[n].score_sd[aspect]
                    spread["rating_sd"][aspect][place] = user.confidences[n].rating_sd[aspect]
    found: dict[str, str] = {
        "base_model": base_model.model_dump_json(),
        "users": f"[{','.join(_scored_user(user, now) for user in answer.scored)}]",
        "user": _dumped(user_N),
        "scores": _dumped(scores),
        "generic": _dumped(generic),
        "confidence": _dumped(spread if any(user.confidences is not None for user in answer.scored) else None),
        "branches": _dumped(branches_N if any(branches is not None for branches in branches_N) else None),
        "receipt_id": _dumped(receipt_N if any(user.receipts is not None for user in answer.scored) else None),
        "unscored": _object(
            (str(place), PredictionOut.of(item, base_model, now).model_dump_json())
            for place, item in sorted(answer.unscored.items())
        ),
        "pending": str(answer.num_pending),
    }
    return _object(found.items())


def _object(members: Iterable[tuple[str, str]]) -> str:
    """A JSON object of names and texts of JSON."""
    return f"{{{','.join(f'{_dumped(name)}:{text}' for name, text in members)}}}"


def _dumped(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
