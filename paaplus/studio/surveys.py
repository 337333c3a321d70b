"""Surveys: a form that is made from its JSON schema, and the person's answers to it."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from starlette.responses import Response

from paaplus.errors import InvalidInput, NotFound
from paaplus.services.images import images
from paaplus.services.surveys import answers as survey_answers
from paaplus.services.surveys import form_answers, forms, surveys
from paaplus.services.users import keys, users
from paaplus.services.users.rate_limits import RateLimitKind
from paaplus.studio.answers import person_of
from paaplus.studio.calls import Call
from paaplus.studio.survey_fields import Field, fields_of, given_answers
from paaplus.studio.thumbnails import not_modified_or, size_of

MOST: Final = 200  # versions of surveys that are looked at


def listing(call: Call) -> Response:
    """The newest version of every survey of the person's application, and whether it is answered."""
    with call.context.database.read_session() as session:
        user = users.resolve(session, call.person, str(person_of(call.person)))
        newest: dict[str, Any] = {}
        for row in surveys.list_surveys(session, call.person, application=user.application, limit=MOST):
            newest.setdefault(row.name, row)
        shown = []
        for row in newest.values():
            if row.retired_at is not None:
                continue
            shown.append(
                {
                    "name": row.name,
                    "title": row.form["title"],
                    "num_items": len(row.form["items"]),
                    "answered_at": _answered_at(session, user, row),
                }
            )
    return call.page("surveys.html", surveys=shown)


def page(call: Call) -> Response:
    """One survey as a form, with the answers that the person has given before."""
    name = call.request.path_params["name"]
    with call.context.database.read_session() as session:
        user = users.resolve(session, call.person, str(person_of(call.person)))
        survey = surveys.get(session, user.application, name)
        try:
            row, _ = survey_answers.answers_of(session, user, name, survey.version)
            given = dict(row.answers)
        except NotFound:
            given = {}
    return _page(call, survey, given, {}, is_saved=call.request.query_params.get("saved") == "yes")


def save(call: Call) -> Response:
    """Store the answers. What is wrong with one is told beside it, and everything that was filled in stays."""
    name = call.request.path_params["name"]
    with call.context.database.read_session() as session:
        user = users.resolve(session, call.person, str(person_of(call.person)))
        survey = surveys.get(session, user.application, name)
    form = forms.parse(survey.form)
    given = given_answers(fields_of(form_answers.answers_schema(form)), call.form)
    problems = form_answers.problems(form, given)
    if problems:
        return _page(call, survey, given, problems, status_code=400)
    call.spend(RateLimitKind.FEEDBACK, max(1, len(given)))
    with call.context.database.session() as session:
        survey_answers.answer(
            session,
            call.context.blobs,
            user.id,
            name,
            given,
            version=survey.version,
            settings=call.context.settings,
            max_per_day=call.context.settings.feedback_per_user_per_day,
        )
    return call.go(f"/surveys/{name}?saved=yes")


def picture(call: Call) -> Response:
    """A thumbnail of one image of a pair. Images of pairs are shared, so everybody who answers may see them."""
    size = size_of(call)
    with call.context.database.read_session() as session:
        user = users.resolve(session, call.person, str(person_of(call.person)))
        form = forms.parse(surveys.get(session, user.application, call.request.path_params["name"]).form)
        side = {(item.id, side): image for item in form.pairs for side, image in _sides(item)}
        image_id = side.get((call.request.path_params["item"], call.request.path_params["side"]))
        if image_id is None:
            raise NotFound("no such picture")
        image = images.get(session, keys.of_user(user, call.person), image_id)
    return not_modified_or(call, image, size)


def _sides(item: forms.ImagePairItem) -> tuple[tuple[str, UUID], tuple[str, UUID]]:
    return ("first", item.first), ("second", item.second)


def _page(
    call: Call,
    survey: Any,
    given: dict[str, Any],
    problems: dict[str, str],
    *,
    is_saved: bool = False,
    status_code: int = 200,
) -> Response:
    if survey.retired_at is not None:
        raise InvalidInput(call.t("survey.retired"))
    form = forms.parse(survey.form)
    items = {item.id: item for item in form.items}
    fields: list[Field] = fields_of(form_answers.answers_schema(form))
    return call.page(
        "survey.html",
        status_code,
        name=survey.name,
        title=form.title,
        fields=fields,
        labels={field.id: _labels(items[field.id]) for field in fields},
        pairs={item.id for item in form.pairs},
        given=given,
        problems=problems,
        is_saved=is_saved,
    )


def _labels(item: forms.Item) -> dict[float, str]:
    """Names of numbers of a scale, which its JSON schema does not have."""
    return {float(value): text for value, text in item.labels.items()} if isinstance(item, forms.ScaleItem) else {}


def _answered_at(session: Any, user: Any, survey: Any) -> Any:
    try:
        row, _ = survey_answers.answers_of(session, user, survey.name, survey.version)
    except NotFound:
        return None
    return row.created_at
