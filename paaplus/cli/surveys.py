"""`paaplus surveys`: forms, answers, and the encoders that are learned from them."""

from __future__ import annotations

from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from paaplus.cli.common import (
    ACTOR,
    DecimalOption,
    DelimiterOption,
    JsonOption,
    OnceOption,
    StrictOption,
    carried_out,
    csv_format,
    given_to,
    once,
    open_blobs,
    open_database,
    parse_scale,
    print_json,
    print_record,
    print_rows,
    progress_bar,
    tell_known,
)
from paaplus.cli.lazy import lazy_imports
from paaplus.csv_files import CsvFormat
from paaplus.errors import InvalidInput
from paaplus.settings import get_settings
from paaplus.texts import parse_json

with lazy_imports():
    from paaplus.services.registry import base_models, taste_priors
    from paaplus.services.surveys import answers as survey_answers
    from paaplus.services.surveys import forms, preference_encoders, preferences, surveys
    from paaplus.services.users import keys
    from paaplus.services.users import users as users_service

if TYPE_CHECKING:
    from paaplus.db.tables import PreferenceEncoderRow, SurveyRow

app = typer.Typer()

FIELDS = ("id", "application", "name", "version", "domain", "digest", "created_at", "retired_at")
ENCODER_FIELDS = ("id", "survey_id", "base_model_id", "version", "digest", "num_people", "metrics", "created_at",
                  "retired_at", "stale_at")  # fmt: skip

NameArgument = Annotated[str, typer.Argument(help="Name of the survey.")]
ApplicationOption = Annotated[str, typer.Option(help="Application of the survey.")]
VersionOption = Annotated[int | None, typer.Option(min=1, help="Version of the survey; default: the newest.")]
BaseModelOption = Annotated[str, typer.Option(help="NAME or NAME@VERSION; default: the default base model.")]

MAX_ITEMS = 100  # of one form, as in services/surveys/forms.py


@app.command()
def create(
    name: NameArgument,
    form: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="A form as JSON; see docs/examples/surveys.")
    ],
    domain: Annotated[str, typer.Option(help="The kind of objects that the survey is about.")],
    application: ApplicationOption = "default",
    key: OnceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create a survey or its next version. If the newest version has the same form, nothing changes."""
    document = parse_json(form.read_bytes(), str(form))
    with open_database() as database, database.session() as session:

        def create_one() -> dict[str, Any]:
            row, is_new = surveys.create(
                session, application=application, name=name, domain=domain, form=document, actor=ACTOR
            )
            return {**_record(row), "is_new": is_new}

        given = {"application": application, "name": name, "domain": domain, "form": document}
        print_record(once(session, key, "surveys create", given, create_one), as_json=as_json)


@app.command("from-experts")
def from_experts(
    name: NameArgument,
    domain: Annotated[str, typer.Option(help="The kind of objects that the survey is about.")],
    count: Annotated[int, typer.Option(min=1, max=MAX_ITEMS, help="Number of image pairs.")] = 10,
    aspect: Annotated[str | None, typer.Option(help="Aspect to ask about; default: the base model's first.")] = None,
    application: ApplicationOption = "default",
    as_json: JsonOption = False,
) -> None:
    """Create a survey of the image pairs on which the experts' models disagree most."""
    from paaplus.services.experts import survey_pairs

    with open_database() as database, database.session() as session:
        form = survey_pairs.form_of_pairs(session, open_blobs(), get_settings(), application, count, aspect)
        row, is_new = surveys.create(session, application=application, name=name, domain=domain, form=form, actor=ACTOR)
        print_record({**_record(row), "num_pairs": len(form["items"]), "is_new": is_new}, as_json=as_json)


@app.command("list")
def list_surveys(
    application: Annotated[str | None, typer.Option(help="Only surveys of this application.")] = None,
    as_json: JsonOption = False,
) -> None:
    """All versions of all surveys, newest first, with how many users answered."""
    with open_database() as database, database.read_session() as session:
        users_service.require_application(session, application)
        rows = surveys.list_surveys(session, keys.OPERATOR, application=application, limit=10_000)
        counts = survey_answers.count_answers(session, [row.id for row in rows])
        columns = {field: attrgetter(field) for field in FIELDS} | {"num_answers": lambda row: counts.get(row.id, 0)}
        print_rows(rows, columns, as_json=as_json, title="surveys", json_only=("id",))


@app.command()
def show(name: NameArgument, application: ApplicationOption = "default", version: VersionOption = None) -> None:
    """One version of a survey, its form and its encoders, as JSON."""
    with open_database() as database, database.read_session() as session:
        row = surveys.get(session, application, name, version)
        encoders = [_encoder_record(each) for each in preference_encoders.list_encoders(session, row.id)]
        print_json({**_record(row), "form": row.form, "encoders": encoders})


@app.command()
def answers(
    name: NameArgument,
    application: ApplicationOption = "default",
    version: VersionOption = None,
    as_json: JsonOption = False,
) -> None:
    """All users' answers to one version."""
    with open_database() as database, database.read_session() as session:
        row = surveys.get(session, application, name, version)
        rows = survey_answers.answers_to(session, row.id)
        columns = {field: attrgetter(field) for field in ("user_id", "answers", "created_at")}
        print_rows(rows, columns, as_json=as_json, title=f"answers to {name}@{row.version}")


@app.command("import")
def import_answers(
    name: NameArgument,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV with user_id and a column per item.")],
    application: ApplicationOption = "default",
    version: VersionOption = None,
    delimiter: DelimiterOption = ",",
    decimal_mark: DecimalOption = ".",
    as_json: JsonOption = False,
) -> None:
    """Import answers, all lines or none. Unknown users are created. Importing a file twice changes nothing.

    A ranking's cell has | between its options. A choice may be given as its code.
    """
    from paaplus.pipelines.train_encoder import read_answers

    num_new = num_same = 0
    with open_database() as database, database.session() as session:
        blobs, settings = open_blobs(), get_settings()
        survey = surveys.get(session, application, name, version)
        for line in read_answers(file, forms.parse(survey.form), csv_format(delimiter, decimal_mark)):
            try:
                user, _ = users_service.create(session, application=application, external_id=line.user_id)
                done = survey_answers.answer(
                    session, blobs, user.id, name, line.answers, version=survey.version, settings=settings
                )
            except InvalidInput as error:
                raise InvalidInput(f"{file}: line {line.line}: {error}") from error
            num_new += done.is_new
            num_same += not done.is_new
    print_record({"new": num_new, "unchanged": num_same}, as_json=as_json)


@app.command()
def retire(
    name: NameArgument,
    version: Annotated[int, typer.Argument(min=1)],
    application: ApplicationOption = "default",
    as_json: JsonOption = False,
) -> None:
    """Retire a version: it accepts no more answers, and its answers stay."""
    with open_database() as database, database.session() as session:
        print_record(_record(surveys.retire(session, application, name, version, actor=ACTOR)), as_json=as_json)


@app.command()
def train(
    context: typer.Context,
    name: NameArgument,
    data: Annotated[Path | None, typer.Option(exists=True, file_okay=False, help="images/ and ratings.csv.")] = None,
    survey_csv: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="The people's answers, with a column user_id.")
    ] = None,
    from_users: Annotated[
        bool,
        typer.Option("--from-users", help="Learn from users who answered and share their taste, and from experts."),
    ] = False,
    application: ApplicationOption = "default",
    version: VersionOption = None,
    base_model: BaseModelOption = "",
    scale: Annotated[
        str | None, typer.Option(help="MIN,MAX of the ratings; default: the smallest and largest rating.")
    ] = None,
    delimiter: DelimiterOption = ",",
    decimal_mark: DecimalOption = ".",
    strict: StrictOption = False,
    key: OnceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Learn an encoder of answers (from at least 50 people). It is in force at once.

    All users who answered get a preference from it. If answers explain no more than chance, it stays neutral. If it
    equals the one in force, that one is printed, and there is no new version.
    """
    if from_users == (data is not None) or (data is None) != (survey_csv is None):
        raise typer.BadParameter("give either --data DIR with --survey-csv FILE, or --from-users")
    settings, layout, given = get_settings(), csv_format(delimiter, decimal_mark), given_to(context)
    with open_database() as database:
        if (made := carried_out(database, key, "surveys train", given)) is not None:
            print_record(made, as_json=as_json)
            return
        blobs = open_blobs()
        with database.read_session() as session:
            survey = surveys.get(session, application, name, version)
            named = base_models.named(session, base_model) if base_model else None
            base_row = named or base_models.default(session, settings)
            prior_row = taste_priors.in_force(session, base_row.id, application)
        base = base_models.load(blobs, base_row)
        prior = taste_priors.load(blobs, prior_row) if prior_row is not None else None
        user_ids: list[UUID] = []
        with progress_bar() as progress:
            task = progress.add_task("learning from answers", total=None)

            def tell(done: int, total: int) -> None:
                progress.update(task, completed=done, total=total)

            if data is not None and survey_csv is not None:
                encoder, metrics = _from_folder(
                    base_row, base, prior, data, survey_csv, survey, scale, layout, strict, tell
                )
            else:
                from paaplus.pipelines.train_encoder import encoder_from_users

                holdout_key = settings.holdout_key.get_secret_value()
                encoder, metrics, user_ids = encoder_from_users(base, database, survey, holdout_key, prior, tell)
        with database.session() as session:

            def register() -> dict[str, Any]:
                before = preference_encoders.in_force(session, survey.id, base_row.id)
                row = preference_encoders.register(
                    session, encoder, survey, base_row, metrics=metrics, user_ids=user_ids, actor=ACTOR
                )
                is_new = before is None or before.id != row.id
                if not is_new:
                    tell_known(f"version {row.version}", row.created_at)
                num_encoded = preferences.encode_everybody(session, blobs, survey, base_row)
                return {**_encoder_record(row), "is_new": is_new, "num_users_encoded": num_encoded}

            record = once(session, key, "surveys train", given, register)
    print_record(record, as_json=as_json)


@app.command("retire-encoder")
def retire_encoder(
    name: NameArgument,
    encoder_version: Annotated[int, typer.Argument(min=1, help="Version of the encoder.")],
    application: ApplicationOption = "default",
    version: VersionOption = None,
    base_model: BaseModelOption = "",
    as_json: JsonOption = False,
) -> None:
    """Retire an encoder. The one before it encodes all answers again; without one, nobody has a preference."""
    with open_database() as database, database.session() as session:
        survey = surveys.get(session, application, name, version)
        named = base_models.named(session, base_model) if base_model else None
        base_row = named or base_models.default(session, get_settings())
        row = preference_encoders.retire(session, survey, base_row.id, encoder_version, actor=ACTOR)
        num_encoded = preferences.encode_everybody(session, open_blobs(), survey, base_row)
        print_record({**_encoder_record(row), "num_users_encoded": num_encoded}, as_json=as_json)


def _from_folder(
    base_row: Any,
    base: Any,
    prior: Any,
    data: Path,
    survey_csv: Path,
    survey: SurveyRow,
    scale: str | None,
    layout: CsvFormat,
    strict: bool,
    tell: Any,
) -> tuple[Any, dict[str, Any]]:
    import torch

    from paaplus.models.base_models import load_extractor
    from paaplus.pipelines.train_encoder import encoder_from_folder

    settings = get_settings()
    torch.set_num_threads(settings.torch_threads)
    weights = base_row.config.get("weights")
    extractor = load_extractor(str(base_row.config["extractor"]), Path(weights) if weights else None, settings.device)
    return encoder_from_folder(
        base,
        extractor,
        data,
        survey_csv,
        forms.parse(survey.form),
        cache_dir=settings.home / "cache",
        prior=prior,
        scale=parse_scale(scale) if scale else None,
        layout=layout,
        strict=strict,
        progress=tell,
    )


def _record(row: SurveyRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in FIELDS}


def _encoder_record(row: PreferenceEncoderRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in ENCODER_FIELDS}
