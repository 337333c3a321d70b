"""`paaplus priors`: taste priors, from which `bayes` starts a user's first training."""

from __future__ import annotations

from operator import itemgetter
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
    print_record,
    print_rows,
    progress_bar,
    refuse_given,
    require_application,
    tell_known,
)
from paaplus.cli.lazy import lazy_imports
from paaplus.csv_files import CsvFormat, read_names
from paaplus.errors import InvalidInput
from paaplus.settings import Settings, get_settings

with lazy_imports():
    from paaplus.services import scheduling
    from paaplus.services.registry import base_models, taste_priors

if TYPE_CHECKING:
    from paaplus.db.engine import Database
    from paaplus.db.tables import BaseModelRow, TastePriorRow
    from paaplus.scoring.priors import TastePrior

app = typer.Typer()

COMMAND = "priors train"

FIELDS = ("id", "base_model_id", "version", "application", "digest", "source", "num_people", "metrics", "created_at",
          "retired_at", "stale_at")  # fmt: skip

BaseModelOption = Annotated[str, typer.Option(help="NAME or NAME@VERSION; default: the default base model.")]


@app.command()
def train(
    context: typer.Context,
    data: Annotated[Path | None, typer.Option(exists=True, file_okay=False, help="images/ and ratings.csv.")] = None,
    from_users: Annotated[
        bool, typer.Option("--from-users", help="Learn from users who share their taste (at least 50).")
    ] = False,
    application: Annotated[
        str, typer.Option(help="With --from-users: whose users teach it and start from it; default: the only one.")
    ] = "",
    all_applications: Annotated[
        bool, typer.Option("--all-applications", help="Users of all applications teach it and start from it.")
    ] = False,
    base_model: BaseModelOption = "",
    people: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Use only these user_ids, one per line.")
    ] = None,
    scale: Annotated[
        str | None, typer.Option(help="MIN,MAX of the ratings; default: the smallest and largest rating.")
    ] = None,
    delimiter: DelimiterOption = ",",
    decimal_mark: DecimalOption = ".",
    strict: StrictOption = False,
    key: OnceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Learn the next version of a base model's taste prior. From a data folder, it is in force at once.

    From users, it is tried on people that it was not learned from, and kept without being in force if it is not better.
    If the result equals a prior that is registered, that one is printed, and there is no new version.

    Users whose version started from another prior become due. Until their training, their versions are served.
    """
    if from_users == (data is not None):
        raise typer.BadParameter("give either --data DIR or --from-users")
    if from_users:
        refuse_given(context, ("people", "scale", "delimiter", "decimal_mark", "strict"), "it is for --data")
    else:
        refuse_given(context, ("application", "all_applications"), "it is for --from-users")
    if all_applications:
        refuse_given(context, ("application",), "--all-applications takes all")
    settings, layout, given = get_settings(), csv_format(delimiter, decimal_mark), given_to(context)
    bounds, names = parse_scale(scale) if scale else None, read_names(people) if people else None
    with open_database() as database:
        if (made := carried_out(database, key, COMMAND, given)) is not None:
            print_record(made, as_json=as_json)
            return
        require_application(database, application or None)
        base_row = _base_row(database, settings, base_model)
        with progress_bar() as progress:
            task = progress.add_task("learning from people", total=None)

            def tell(done: int, total: int) -> None:
                progress.update(task, completed=done, total=total)

            user_ids: list[UUID] = []
            refused, scope = None, None
            if data is not None:
                prior, metrics = _from_folder(base_row, settings, data, names, bounds, layout, strict, tell)
            else:
                scope = None if all_applications else application or _only_application(database)
                prior, metrics, user_ids, refused = _from_users(base_row, settings, database, scope, tell)
        source = f"data folder {data.name}" if data is not None else "users who share their taste"
        with database.session() as session:

            def register() -> dict[str, Any]:
                known = taste_priors.find(session, prior.digest)
                if known is not None:
                    tell_known(f"version {known.version}", known.created_at)
                row = taste_priors.register(
                    session,
                    open_blobs(),
                    prior,
                    base_row,
                    source=source,
                    metrics=metrics,
                    user_ids=user_ids,
                    application=scope,
                    refused=refused,
                    actor=ACTOR,
                )
                num_due = 0
                if row.retired_at is None:
                    num_due = scheduling.refresh_after_prior(session, base_row.id, row.id, scope)
                return {**_record(row), "refused": refused, "is_new": known is None, "num_users_due": num_due}

            record = once(session, key, COMMAND, given, register)
    print_record(record, as_json=as_json)


@app.command("list")
def list_priors(as_json: JsonOption = False) -> None:
    """All taste priors, newest first. A base model's newest one that is not retired is in force."""
    with open_database() as database, database.read_session() as session:
        rows = [_record(row) for row in taste_priors.list_priors(session)]
        columns = {name: itemgetter(name) for name in FIELDS}
        print_rows(rows, columns, as_json=as_json, title="taste priors", json_only=("id", "metrics"))


@app.command()
def retire(
    version: Annotated[int, typer.Argument(min=1)], base_model: BaseModelOption = "", as_json: JsonOption = False
) -> None:
    """Retire a prior. The one before it, or the base model's own, is in force again."""
    with open_database() as database:
        base_row = _base_row(database, get_settings(), base_model)
        with database.session() as session:
            row = taste_priors.retire(session, base_row.id, version, actor=ACTOR)
            now = taste_priors.in_force(session, base_row.id, row.application)
            now_id = now.id if now else None
            num_due = scheduling.refresh_after_prior(session, base_row.id, now_id, row.application)
            record = {**_record(row), "num_users_due": num_due}
    print_record(record, as_json=as_json)


def _base_row(database: Database, settings: Settings, wanted: str) -> BaseModelRow:
    with database.read_session() as session:
        if not wanted:
            return base_models.default(session, settings)
        return base_models.named(session, wanted)


def _from_folder(
    base_row: BaseModelRow,
    settings: Settings,
    data: Path,
    people: list[str] | None,
    scale: tuple[float, float] | None,
    layout: CsvFormat,
    strict: bool,
    tell: Any,
) -> tuple[TastePrior, dict[str, Any]]:
    import torch

    from paaplus.models.base_models import load_extractor
    from paaplus.pipelines.train_prior import prior_from_folder

    torch.set_num_threads(settings.torch_threads)
    weights = base_row.config.get("weights")
    extractor = load_extractor(str(base_row.config["extractor"]), Path(weights) if weights else None, settings.device)
    return prior_from_folder(
        base_models.load(open_blobs(), base_row),
        extractor,
        data,
        cache_dir=settings.home / "cache",
        people=people,
        scale=scale,
        layout=layout,
        strict=strict,
        progress=tell,
    )


def _from_users(
    base_row: BaseModelRow, settings: Settings, database: Database, application: str | None, tell: Any
) -> tuple[TastePrior, dict[str, Any], list[UUID], str | None]:
    from paaplus.pipelines.train_prior import prior_from_users

    blobs = open_blobs()
    with database.read_session() as session:
        row = taste_priors.in_force(session, base_row.id, application)
    return prior_from_users(
        base_models.load(blobs, base_row),
        database,
        settings.holdout_key.get_secret_value(),
        application=application,
        current=taste_priors.load(blobs, row) if row is not None else None,
        progress=tell,
    )


def _only_application(database: Database) -> str:
    with database.read_session() as session:
        names = taste_priors.sharing_applications(session)
    if len(names) != 1:
        raise InvalidInput(f"--application: which of {names}? Or --all-applications")
    return names[0]


def _record(row: TastePriorRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in FIELDS}
