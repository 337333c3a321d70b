"""Surveys: forms, answers, and the encoders learned from answers."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query, Response

from paaplus.api.cursors import Cursor
from paaplus.api.dependencies import (
    ApplicationKey,
    Context,
    Limit,
    PersonKey,
    ReadSession,
    UserPath,
    WriteSession,
)
from paaplus.api.routing import router_of
from paaplus.api.schemas.common import Page, WholeText
from paaplus.api.schemas.surveys import (
    PreferenceEncoderOut,
    PreferenceEncodersOut,
    SurveyAnsweredOut,
    SurveyAnswersIn,
    SurveyAnswersOut,
    SurveyIn,
    SurveyName,
    SurveyOut,
)
from paaplus.api.schemas.users import Application
from paaplus.services.surveys import answers as survey_answers
from paaplus.services.surveys import preference_encoders
from paaplus.services.surveys import surveys as surveys_service
from paaplus.services.users import users as users_service
from paaplus.services.users.keys import application_of
from paaplus.services.users.rate_limits import RateLimitKind

router = router_of("/v1", "surveys")

NamePath = Annotated[SurveyName, Path(description="Name of the survey.")]
Version = Annotated[
    WholeText | None, Query(ge=1, le=2**31 - 1, description="Version of the survey; omitted: the newest.")
]
OfApplication = Annotated[Application | None, Query(description="Needed with an admin key.")]


@router.post(
    "/surveys",
    status_code=201,
    responses={200: {"model": SurveyOut, "description": "The newest version has the same form."}},
)
def create_survey(body: SurveyIn, key: ApplicationKey, session: WriteSession, response: Response) -> SurveyOut:
    """Create a survey or its next version. A version never changes."""
    row, is_new = surveys_service.create(
        session,
        application=application_of(key, body.application),
        name=body.name,
        domain=body.domain,
        form=body.form.to_dict(),
        actor=key.actor,
    )
    response.status_code = 201 if is_new else 200
    return SurveyOut.of(row)


@router.get("/surveys")
def list_surveys(
    key: PersonKey, session: ReadSession, cursor: Cursor, limit: Limit = 50, application: OfApplication = None
) -> Page[SurveyOut]:
    """All versions of all surveys that the key may see."""
    rows = surveys_service.list_surveys(session, key, application=application, limit=limit, before=cursor.after)
    return Page(items=[SurveyOut.of(row) for row in rows], next_cursor=cursor.next(rows, limit))


@router.get("/surveys/{name}")
def get_survey(
    name: NamePath, key: PersonKey, session: ReadSession, version: Version = None, application: OfApplication = None
) -> SurveyOut:
    """One version of a survey, the newest by default."""
    return SurveyOut.of(surveys_service.get(session, application_of(key, application), name, version))


@router.get("/surveys/{name}/encoders")
def list_encoders(
    name: NamePath, key: PersonKey, session: ReadSession, version: Version = None, application: OfApplication = None
) -> PreferenceEncodersOut:
    """The encoders learned from a survey's answers, newest first. `paaplus surveys train` learns the next one."""
    survey = surveys_service.get(session, application_of(key, application), name, version)
    rows = preference_encoders.list_encoders(session, survey.id)
    return PreferenceEncodersOut(items=[PreferenceEncoderOut.model_validate(row) for row in rows])


@router.put("/users/{user}/survey-answers/{name}")
def put_answers(
    user: UserPath,
    name: NamePath,
    body: SurveyAnswersIn,
    key: PersonKey,
    context: Context,
    version: Version = None,
) -> SurveyAnsweredOut:
    """Answer a survey, or replace the answers. Posting the same answers again changes nothing.

    New answers about pairs of images are also comparisons in the user's feedback log. If an encoder of the survey is in
    force, it turns the answers into the user's preference.
    """
    context.allowances.spend(key, RateLimitKind.FEEDBACK, max(1, len(body.answers)))
    with context.database.session() as session:
        answered = survey_answers.answer(
            session,
            context.blobs,
            users_service.resolve(session, key, user).id,
            name,
            body.answers,
            version=version,
            settings=context.settings,
            max_per_day=context.settings.feedback_per_user_per_day,
        )
        out = SurveyAnsweredOut(
            user_id=answered.row.user_id,
            survey=answered.survey.name,
            version=answered.survey.version,
            answers=answered.row.answers,
            answered_at=answered.row.created_at,
            is_new=answered.is_new,
            num_comparisons=answered.num_comparisons,
        )
    context.metrics.feedback_accepted.inc(out.num_comparisons)
    return out


@router.get("/users/{user}/survey-answers/{name}")
def get_answers(
    user: UserPath, name: NamePath, key: PersonKey, session: ReadSession, version: Version = None
) -> SurveyAnswersOut:
    """A user's answers to one version; without a version, to the newest that the user answered."""
    row, survey = survey_answers.answers_of(session, users_service.resolve(session, key, user), name, version)
    return SurveyAnswersOut(
        user_id=row.user_id,
        survey=survey.name,
        version=survey.version,
        answers=row.answers,
        answered_at=row.created_at,
    )
