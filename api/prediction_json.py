"""Predictions as JSON, written without a model for each item: most of an answer is the same for all items of a user.

The texts have the fields of `PredictionsOut` and `PredictionColumnsOut` in their order; a test compares them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import chain, cycle, repeat
from typing import Any

import numpy as np
from pydantic_core import to_json

from paaplus.api.schemas.base_models import BaseModelRef
from paaplus.api.schemas.predictions import (
    ConfidenceOut,
    PredictionOut,
    UsedPreferenceOut,
)
from paaplus.db.raw_values import id_texts, microseconds
from paaplus.services.predictions.answers import Answer, ScoredColumns, UserScores
from paaplus.services.predictions.confidence import Confidence
from paaplus.services.predictions.served_records import ServedTexts
from paaplus.services.predictions.serving import AnswerParts


def items(answer: Answer, now: datetime) -> str:
    """The readable answer, `PredictionsOut`."""
    if answer.columns is not None and not answer.unscored:
        return _items_of_columns(answer, answer.columns, now)
    base_model = BaseModelRef.model_validate(answer.base_model)
    texts = [""] * answer.num_items
    for place, item in answer.unscored.items():
        texts[place] = PredictionOut.of(item, base_model, now).model_dump_json()
    scored, names = answer.scored, [f"{_dumped(aspect)}:" for aspect in answer.base_model.aspects]
    scores = _by_aspect(names, [user.score_NA for user in scored])
    generic = _by_aspect(names, [user.generic_NA for user in scored])
    ages, of_base = _ages(scored, microseconds(now)), f',"base_model":{base_model.model_dump_json()},"receipt_id":'
    image_ids: dict[int, list[str]] = {}  # of lists of images, by identity: users who are asked for the same share one
    # Of each scored item: its place, and what is before the image, the image, what is before the receipt, the receipt.
    places: list[int] = []
    heads: list[str] = []
    images: list[str] = []
    ends: list[str] = []
    receipts: list[str | None] = []
    for user, age_s in zip(scored, ages, strict=True):
        if (of_user := image_ids.get(id(user.image_ids))) is None:
            of_user = image_ids[id(user.image_ids)] = id_texts(user.image_ids)
        num, of_version = len(of_user), user.adapter.parts if user.adapter is not None else None
        user_id = of_version.user if of_version is not None else f'"{user.user_id}"'
        before = f'}},{_source(user, of_version, age_s)},"confidence":'
        after = f',"match_id":{of_version.match if of_version is not None else "null"}{of_base}'
        places += user.places
        heads += [f'{{"user_id":{user_id},"image_id":"'] * num
        images += of_user
        if answer.is_plain:  # all items of a user have this in common
            ends += [f'{before}null,"preference":null,"branches":null{after}'] * num
        else:
            ends += _ends(user, before, after)
        receipts += [None] * num if user.receipts is None else user.receipts
    for place, head, image, score, of_model, end, receipt in zip(
        places, heads, images, scores, generic, ends, receipts, strict=True
    ):
        named = "null" if receipt is None else f'"{receipt}"'
        texts[place] = (
            f'{head}{image}","status":"scored","scores":{{{score}}},"generic":{{{of_model}{end}{named},'
            '"job_id":null,"retry_after_s":null,"error":null}'
        )
    return f'{{"items":[{",".join(texts)}],"pending":{answer.num_pending},"receipts_stored":true}}'


def _items_of_columns(answer: Answer, columns: ScoredColumns, now: datetime) -> str:
    """The readable answer of items that are all scored and plain."""
    of_base = f',"base_model":{BaseModelRef.model_validate(answer.base_model).model_dump_json()},"receipt_id":'
    names = [f"{_dumped(aspect)}:" for aspect in answer.base_model.aspects]
    of_users = columns.users.texts()
    image_ids: dict[int, list[str]] = {}  # of lists of images, by identity: users who are asked for the same share one
    places: list[int] = []
    images: list[str] = []
    heads: list[str] = []
    ends: list[str] = []
    ages = _closed_ages(of_users, now)
    for user, adapter, age, match, (_, asked_ids, asked_places) in zip(
        of_users.users, of_users.adapters, ages, of_users.matches, columns.asked_U, strict=True
    ):
        if (of_user := image_ids.get(id(asked_ids))) is None:
            of_user = image_ids[id(asked_ids)] = id_texts(asked_ids)
        head, num = f'{{"user_id":{user},"image_id":"', len(of_user)
        end = f'}},{adapter}{age},"confidence":null,"preference":null,"branches":null,"match_id":{match}{of_base}'
        places += asked_places
        images += of_user
        if num == 1:
            heads.append(head)
            ends.append(end)
        else:
            heads += [head] * num
            ends += [end] * num
    scores = _named(names, columns.score_NA.ravel().tolist())
    generic = _named(names, columns.generic_NA.ravel().tolist())
    receipts = [f'"{each}"' for each in columns.receipts_N] if columns.receipts_N is not None else repeat("null")
    found = [
        f'{head}{image}","status":"scored","scores":{{{score}}},"generic":{{{of_model}{end}{receipt},'
        '"job_id":null,"retry_after_s":null,"error":null}'
        for head, image, score, of_model, end, receipt in zip(
            heads, images, scores, generic, ends, receipts, strict=False
        )
    ]
    return f'{{"items":[{",".join(_in_places(found, places))}],"pending":0,"receipts_stored":true}}'


def _in_places(texts: list[str], places: Sequence[int]) -> list[str]:
    """Texts in the order of the answer."""
    if places == list(range(len(places))):
        return texts
    ordered = [""] * len(texts)
    for place, text in zip(places, texts, strict=True):
        ordered[place] = text
    return ordered


def _ends(user: UserScores, before: str, after: str) -> list[str]:
    """What is between the scores and the receipt of each item."""
    found = []
    for n, image in enumerate(user.images):
        spread = "null" if user.confidences is None else _confidence(user.confidences[n])
        branches = "null" if image.branches is None else _dumped(image.branches)
        found.append(f'{before}{spread},"preference":{_preference(user)},"branches":{branches}{after}')
    return found


def _number_texts(numbers: Sequence[float]) -> list[str]:
    """Numbers as JSON: for many, a seventh of what `repr` takes."""
    return to_json(numbers)[1:-1].decode().split(",") if numbers else []


def _ages(scored: Sequence[UserScores], now_us: int) -> list[str]:
    """Seconds since the training of each user's version, as texts; of a user without a version, 0."""
    return _age_texts([user.adapter.parts.trained_us if user.adapter is not None else None for user in scored], now_us)


def _age_texts(trained_us: Sequence[int | None], now_us: int) -> list[str]:
    return _number_texts([0 if each is None else max(0, now_us - each) / 1_000_000 for each in trained_us])


def _by_aspect(names: list[str], of_users: Sequence[Sequence[Sequence[float]]]) -> list[str]:
    """Scores of each item of each user, with the names of the aspects."""
    return _named(names, [value for score_NA in of_users for score_A in score_NA for value in score_A])


def _named(names: list[str], values: Sequence[float]) -> list[str]:
    """Scores of each item, one after the other, with the names of the aspects."""
    texts = _number_texts(values)
    if len(names) == 1:
        return list(map(names[0].__add__, texts))
    named = list(map(str.__add__, cycle(names), texts))
    return [",".join(named[start : start + len(names)]) for start in range(0, len(named), len(names))]


def _confidence(confidence: Confidence) -> str:
    return ConfidenceOut.model_validate(confidence).model_dump_json()


def _scored_user(user: UserScores, age_s: str) -> str:
    """A `ScoredUserOut`."""
    of_version = user.adapter.parts if user.adapter is not None else None
    return (
        f'{{"user_id":"{user.user_id}",{_source(user, of_version, age_s)},'
        f'"preference":{_preference(user)},"match_id":{of_version.match if of_version is not None else "null"}}}'
    )


def _source(user: UserScores, of_version: AnswerParts | None, age_s: str) -> str:
    """Where the scores come from, and a `ServedAdapterOut`."""
    if of_version is None:
        return f'"source":"{user.source}","source_reason":"{user.source_reason}","adapter":null'
    return f"{of_version.adapter}{age_s}}}"


def _closed_ages(of_users: ServedTexts, now: datetime) -> list[str]:
    """What follows each of `ServedTexts.adapters`: the age, and the end of a `ServedAdapterOut`, if there is one."""
    ages = [f"{age_s}}}" for age_s in _age_texts(of_users.trained_us, microseconds(now))]
    if None in of_users.trained_us:
        return ["" if each is None else age for each, age in zip(of_users.trained_us, ages, strict=True)]
    return ages


def _columns_of_columns(answer: Answer, columns: ScoredColumns, now: datetime) -> str:
    """The compact answer of items that are all scored and plain."""
    of_users = columns.users.texts()
    users = [
        f'{{"user_id":{user},{adapter}{age},"preference":null,"match_id":{match}}}'
        for user, adapter, age, match in zip(
            of_users.users, of_users.adapters, _closed_ages(of_users, now), of_users.matches, strict=True
        )
    ]
    places = list(chain.from_iterable([places for _, _, places in columns.asked_U]))
    order_N = np.empty(len(places), np.int64)
    order_N[places] = np.arange(len(places))
    user_N = np.repeat(np.arange(len(users)), [len(places) for _, _, places in columns.asked_U])[order_N]
    aspects = answer.base_model.aspects
    receipts = [columns.receipts_N[n] for n in order_N.tolist()] if columns.receipts_N is not None else None
    found: dict[str, str] = {
        "base_model": BaseModelRef.model_validate(answer.base_model).model_dump_json(),
        "users": f"[{','.join(users)}]",
        "user": _dumped(user_N.tolist()),
        "scores": _dumped(dict(zip(aspects, columns.score_NA[order_N].T.tolist(), strict=True))),
        "generic": _dumped(dict(zip(aspects, columns.generic_NA[order_N].T.tolist(), strict=True))),
        "confidence": "null",
        "branches": "null",
        "receipt_id": _dumped(receipts),
        "unscored": "{}",
        "pending": "0",
    }
    return _object(found.items())


def _preference(user: UserScores) -> str:
    """A `UsedPreferenceOut`."""
    if user.preference is None:
        return "null"
    return UsedPreferenceOut.model_validate(user.preference).model_dump_json()


def columns(answer: Answer, now: datetime) -> str:
    """The compact answer, `PredictionColumnsOut`."""
    if answer.columns is not None and not answer.unscored:
        return _columns_of_columns(answer, answer.columns, now)
    base_model = BaseModelRef.model_validate(answer.base_model)
    aspects, ages = answer.base_model.aspects, _ages(answer.scored, microseconds(now))
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
        "users": f"[{','.join(map(_scored_user, answer.scored, ages))}]",
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
    return to_json(value).decode()
