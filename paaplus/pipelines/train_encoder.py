"""Learn a preference encoder: from a data folder and a table of answers, or from users who answered and share.

Shape letters: U = people, Q = columns of answers.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import sqlalchemy as sa

from paaplus.data.features import folder_features
from paaplus.data.folder import DEFAULT_ASPECT, read_folder
from paaplus.db.engine import Database
from paaplus.db.tables import ExpertRow, SurveyRow, UserRow
from paaplus.errors import InvalidInput
from paaplus.fitting.preference_encoder import DIM, fit_preference_encoder
from paaplus.models.extractor import Extractor
from paaplus.pipelines.train_prior import ratings_by_person, ratings_of_user
from paaplus.records import Scale
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.preference import PreferenceEncoder
from paaplus.scoring.priors import Prior
from paaplus.services.surveys import answers as survey_answers
from paaplus.services.surveys import form_answers, forms

Progress = Callable[[int, int], None]


def _silent(done: int, total: int) -> None: ...


@dataclass(frozen=True)
class AnswersLine:
    """One line of a table of answers; `line` is its number in the file."""

    line: int
    user_id: str
    answers: dict[str, Any]


def read_answers(file: Path, form: forms.Form) -> Iterator[AnswersLine]:
    """The lines of a CSV with `user_id` and a column for every item that somebody answered.

    Raises:
        InvalidInput: no such column, or a cell that is no answer; the message names the line.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            names = set(reader.fieldnames or ())
            known = {item.id for item in form.items}
            if "user_id" not in names or not names & known:
                raise InvalidInput(f"needs user_id and columns of {sorted(known)}, has {sorted(names)}")
            for row in reader:
                if not row["user_id"]:
                    raise InvalidInput(f"line {reader.line_num} has no user_id")
                try:
                    answers = form_answers.answers_from_text(form, row)
                except InvalidInput as error:
                    raise InvalidInput(f"line {reader.line_num}: {error}") from error
                yield AnswersLine(reader.line_num, row["user_id"], answers)
    except (InvalidInput, csv.Error, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file}: {error}") from error


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
    progress: Progress = _silent,
) -> tuple[PreferenceEncoder, dict[str, Any]]:
    """An encoder from a data folder's people, and what a table says that they answered.

    Args:
        base: the base model that the encoder is for.
        extractor: of that base model.
        data: the folder, see `paaplus.data.folder`.
        survey_csv: see `read_answers`; items that it has no column for count as not answered.
        form: of the survey; it may not ask about images of the platform.
        cache_dir: of features.
        prior: what deviations are counted from; None: the base model's own.
        scale: smallest and largest rating that people could give; None: as found.
        aspect: name of what a lone column `rating` rates.
        progress: told how many images have features, of how many.

    Raises:
        InvalidInput: the files are wrong, or fewer than 50 people rated and answered.
    """
    if form.pairs:
        raise InvalidInput("a survey about images of the platform is learned from its users, not from a data folder")
    if extractor.digest != base.extractor_digest:
        raise InvalidInput(f"extractor {extractor.digest[:12]}; the base model's is {base.extractor_digest[:12]}")
    folder = read_folder(data, Scale(*scale) if scale else None, aspect)
    if missing := sorted(set(base.aspects) - set(folder.aspects)):
        raise InvalidInput(f"{data} rates {list(folder.aspects)}; the base model scores {missing} too")
    answered = {line.user_id: form_answers.encode(form, line.answers) for line in read_answers(survey_csv, form)}
    features_ID = folder_features(folder, extractor, cache_dir, progress=progress)
    rated = {name: one for name, one in ratings_by_person(base, folder, features_ID).items() if name in answered}
    answers_UQ = np.array([answered[name] for name in rated]).reshape(len(rated), -1)
    names = forms.columns(form)
    return fit_preference_encoder(base, list(rated.values()), answers_UQ, names, prior, base.preference_dim or DIM)


def encoder_from_users(
    base: BaseScorer,
    database: Database,
    survey: SurveyRow,
    holdout_key: str,
    prior: Prior | None = None,
    progress: Progress = _silent,
) -> tuple[PreferenceEncoder, dict[str, Any], list[UUID]]:
    """An encoder from users who answered the survey, and who they are: those who share their taste, and experts.

    Left out are held-out ratings, and those of images that the survey asks about, whose noise the answers share.

    Raises:
        InvalidInput: fewer than 50 such users rated and answered.
    """
    form = forms.parse(survey.form)
    asked = {image_id for item in form.pairs for image_id in (item.first, item.second)}
    rated, rows, user_ids = [], [], []
    with database.read_session() as session:
        answered = {row.user_id: row.answers for row in survey_answers.answers_to(session, survey.id)}
        may_learn = sa.or_(UserRow.shares_taste, sa.exists().where(ExpertRow.user_id == UserRow.id))
        users = session.execute(
            sa.select(UserRow).where(UserRow.application == survey.application, may_learn).order_by(UserRow.id)
        )
        consenting = [user for user in users.scalars() if user.id in answered]
        for done, user in enumerate(consenting):
            progress(done, len(consenting))
            theirs = ratings_of_user(session, base, user, holdout_key, without=asked)
            if theirs is not None:
                rated.append(theirs)
                rows.append(form_answers.encode(form, answered[user.id]))
                user_ids.append(user.id)
    progress(len(consenting), len(consenting))
    names = forms.columns(form)
    answers_UQ = np.array(rows).reshape(len(rows), len(names))
    encoder, metrics = fit_preference_encoder(base, rated, answers_UQ, names, prior, base.preference_dim or DIM)
    return encoder, metrics, user_ids
