"""Fit a preference encoder: to a data folder and a table of answers, or to users who answered a survey.

Shape letters: U = people, Q = columns of answers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import sqlalchemy as sa

from paaplus.csv_files import STANDARD, CsvFormat, CsvRow, read_csv
from paaplus.data.features import folder_features
from paaplus.data.folder import DEFAULT_ASPECT, read_folder
from paaplus.data.readable_images import readable_images
from paaplus.db.engine import Database
from paaplus.db.tables import ExpertRow, SurveyRow, UserRow
from paaplus.errors import InvalidInput
from paaplus.fitting.preference_encoder import DIM, check_answered, fit_preference_encoder
from paaplus.models.extractor import Extractor
from paaplus.pipelines.train_prior import ratings_by_person, ratings_of_user
from paaplus.records import Scale
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.preference import PreferenceEncoder
from paaplus.scoring.priors import Prior
from paaplus.services.surveys import answers as survey_answers
from paaplus.services.surveys import form_answers, forms

Progress = Callable[[int, int], None]


def _no_progress(done: int, total: int) -> None: ...


@dataclass(frozen=True)
class AnswersLine:
    """One person's answers in a table; `line` is the line number."""

    line: int
    user_id: str
    answers: dict[str, Any]


def read_answers(file: Path, form: forms.Form, layout: CsvFormat = STANDARD) -> list[AnswersLine]:
    """The lines of a CSV with `user_id` and a column per item of the form; columns may be missing.

    Raises:
        InvalidInput: wrong columns, a cell that is no answer, or a person twice; the message has the line number.
    """
    known = {item.id for item in form.items}
    table = read_csv(file, ("user_id",), known, layout)
    if not known & set(table.columns):
        raise InvalidInput(f"{file}, line 1: needs columns of {sorted(known)}, has {list(table.columns)}")
    first_line: dict[str, int] = {}

    def parse(row: CsvRow) -> AnswersLine:
        user_id = row.text("user_id")
        if first_line.setdefault(user_id, row.line) != row.line:
            raise InvalidInput(f"user_id {user_id!r} is on line {first_line[user_id]} too")
        return AnswersLine(row.line, user_id, form_answers.answers_from_text(form, row.cells, layout.decimal_mark))

    return table.read(parse)


def encoder_from_folder(
    base: BaseScorer,
    extractor: Extractor,
    data: Path,
    survey_csv: Path,
    form: forms.Form,
    *,
    cache_dir: Path,
    prior: Prior | None = None,
    scale: tuple[float, float] | None = None,
    aspect: str = DEFAULT_ASPECT,
    layout: CsvFormat = STANDARD,
    strict: bool = False,
    progress: Progress = _no_progress,
) -> tuple[PreferenceEncoder, dict[str, Any]]:
    """Fit an encoder to the ratings of a data folder and a table of these people's answers.

    Args:
        base: the base model that the encoder is for.
        extractor: the extractor of that base model.
        data: the folder, see `paaplus.data.folder`.
        survey_csv: see `read_answers`; an item without a column counts as not answered.
        form: the survey; it must not ask about images of the platform.
        cache_dir: cache of features.
        prior: deviations are from its mean; None: the base model's own prior.
        scale: smallest and largest possible rating; None: those in the folder.
        aspect: the aspect of a column named `rating`.
        layout: delimiter and decimal mark of the tables.
        strict: refuse what is skipped with a warning otherwise.
        progress: called with the number of images that have features and the number of all.

    Raises:
        InvalidInput: the files are wrong, or fewer than 50 people rated and answered.
    """
    if form.pairs:
        raise InvalidInput("a survey about images of the platform needs its users' answers, not a data folder")
    if extractor.digest != base.extractor_digest:
        raise InvalidInput(f"extractor {extractor.digest[:12]}; the base model's is {base.extractor_digest[:12]}")
    folder = read_folder(data, Scale(*scale) if scale else None, aspect, layout=layout, strict=strict)
    if missing := sorted(set(base.aspects) - set(folder.aspects)):
        raise InvalidInput(f"{data} rates {list(folder.aspects)}; the base model scores {missing} too")
    lines = read_answers(survey_csv, form, layout)
    answered = {line.user_id: form_answers.encode(form, line.answers) for line in lines}
    check_answered(len(set(folder.people) & set(answered)))  # before hours of features
    folder = readable_images(folder, strict=strict)
    features_ID = folder_features(folder, extractor, cache_dir, progress=progress)
    by_person = ratings_by_person(base, folder, features_ID)
    rated = {user_id: ratings for user_id, ratings in by_person.items() if user_id in answered}
    answers_UQ = np.array([answered[user_id] for user_id in rated]).reshape(len(rated), -1)
    names = forms.columns(form)
    return fit_preference_encoder(base, list(rated.values()), answers_UQ, names, prior, base.preference_dim or DIM)


def encoder_from_users(
    base: BaseScorer,
    database: Database,
    survey: SurveyRow,
    holdout_key: str,
    prior: Prior | None = None,
    progress: Progress = _no_progress,
) -> tuple[PreferenceEncoder, dict[str, Any], list[UUID]]:
    """Fit an encoder to users who answered the survey. Returns encoder, metrics and these users' ids.

    Only users who share their taste are used, and experts. Held-out ratings are left out, and ratings of images in the
    survey, because answers and ratings of one image share the person's noise.

    Raises:
        InvalidInput: fewer than 50 such users rated and answered.
    """
    form = forms.parse(survey.form)
    asked = {image_id for item in form.pairs for image_id in (item.first, item.second)}
    rated, rows, user_ids = [], [], []
    with database.read_session() as session:
        answered = {row.user_id: row.answers for row in survey_answers.answers_to(session, survey.id)}
        may_be_used = sa.or_(UserRow.shares_taste, sa.exists().where(ExpertRow.user_id == UserRow.id))
        users = session.execute(
            sa.select(UserRow).where(UserRow.application == survey.application, may_be_used).order_by(UserRow.id)
        )
        used_users = [user for user in users.scalars() if user.id in answered]
        for done, user in enumerate(used_users):
            progress(done, len(used_users))
            ratings = ratings_of_user(session, base, user, holdout_key, without=asked)
            if ratings is not None:
                rated.append(ratings)
                rows.append(form_answers.encode(form, answered[user.id]))
                user_ids.append(user.id)
    progress(len(used_users), len(used_users))
    names = forms.columns(form)
    answers_UQ = np.array(rows).reshape(len(rows), len(names))
    encoder, metrics = fit_preference_encoder(base, rated, answers_UQ, names, prior, base.preference_dim or DIM)
    return encoder, metrics, user_ids
