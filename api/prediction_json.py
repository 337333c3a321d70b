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
from paaplus.db.raw_values import microseconds
from paaplus.services.predictions.answers import Answer, UserScores
from paaplus.services.predictions.confidence import Confidence
from paaplus.services.predictions.serving import ServedAdapter


def items(answer: Answer, now: datetime) -> str:
    """The readable answer, `PredictionsOut`."""
    base_model = BaseModelRef.model_validate(answer.base_model)
    texts = [""] * answer.num_items
    for place, item in answer.unscored.items():
        texts[place] = PredictionOut.of(item, base_model, now).model_dump_json()
    names = [f"{_dumped(aspect)}:" for aspect in answer.base_model.aspects]
    of_base, now_us = base_model.model_dump_json(), microseconds(now)
    id_texts: dict[int, list[str]] = {}  # of lists of images, by identity: users who are asked for the same share one
    for user in answer.scored:
        image_ids = id_texts.get(id(user.image_ids))
        if image_ids is None:
            image_ids = id_texts[id(user.image_ids)] = [str(image_id) for image_id in user.image_ids]
        _write_items(texts, user, image_ids, names, of_base, now_us)
    return f'{{"items":[{",".join(texts)}],"pending":{answer.num_pending},"receipts_stored":true}}'


def _write_items(
    texts: list[str], user: UserScores, image_ids: list[str], names: list[str], of_base: str, now_us: int
) -> None:
    """Write a user's items to their places.

    Args:
        texts: of all items of the answer.
        user: the items.
        image_ids: of the items, as texts.
        names: of the aspects, each with a colon.
        of_base: the base model.
        now_us: the time of the answer, in microseconds since 1970.
    """
    head = f'{{"user_id":"{user.user_id}","image_id":"'
    source = f'}},{_source(user)},"adapter":{_adapter(user.adapter, now_us)},"confidence":'
    preference = f',"preference":{_preference(user)},"branches":'
    match = f',"match_id":{_match(user)},"base_model":{of_base},"receipt_id":'
    confidences, receipts = user.confidences, user.receipts
    plain = f"{source}null{preference}null{match}"  # of most items
    for n, place in enumerate(user.places):
        branches = user.images[n].branches
        in_common = plain
        if confidences is not None or branches is not None:
            spread = "null" if confidences is None else _confidence(confidences[n])
            in_common = f"{source}{spread}{preference}{'null' if branches is None else _dumped(branches)}{match}"
        receipt = "null" if receipts is None else f'"{receipts[n]}"'
        texts[place] = (
            f'{head}{image_ids[n]}","status":"scored","scores":{{{_by_aspect(names, user.score_NA[n])}}},'
            f'"generic":{{{_by_aspect(names, user.generic_NA[n])}{in_common}{receipt},'
            '"job_id":null,"retry_after_s":null,"error":null}'
        )


def _by_aspect(names: list[str], values: list[float]) -> str:
    if len(names) == 1:
        return f"{names[0]}{values[0]!r}"
    return ",".join([f"{name}{value!r}" for name, value in zip(names, values, strict=True)])


def _confidence(confidence: Confidence) -> str:
    return ConfidenceOut.model_validate(confidence).model_dump_json()


def _scored_user(user: UserScores, now_us: int) -> str:
    """A `ScoredUserOut`."""
    return (
        f'{{"user_id":"{user.user_id}",{_source(user)},"adapter":{_adapter(user.adapter, now_us)},'
        f'"preference":{_preference(user)},"match_id":{_match(user)}}}'
    )


# Ids, digests, numbers, times and the words of `Source` have no character that JSON would read.


def _source(user: UserScores) -> str:
    return f'"source":"{user.source}","source_reason":"{user.source_reason}"'


def _adapter(served: ServedAdapter | None, now_us: int) -> str:
    """A `ServedAdapterOut`."""
    if served is None:
        return "null"
    start, trained_us = served.as_json
    return f"{start}{max(0, now_us - trained_us) / 1_000_000!r}}}"


def _preference(user: UserScores) -> str:
    """A `UsedPreferenceOut`."""
    if user.preference is None:
        return "null"
    return UsedPreferenceOut.model_validate(user.preference).model_dump_json()


def _match(user: UserScores) -> str:
    match_id = user.adapter.match_id if user.adapter is not None else None
    return "null" if match_id is None else f'"{match_id}"'


def columns(answer: Answer, now: datetime) -> str:
    """The compact answer, `PredictionColumnsOut`."""
    base_model = BaseModelRef.model_validate(answer.base_model)
    aspects, now_us = answer.base_model.aspects, microseconds(now)
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
        "users": f"[{','.join(_scored_user(user, now_us) for user in answer.scored)}]",
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
