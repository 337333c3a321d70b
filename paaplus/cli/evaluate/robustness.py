"""`paaplus evaluate robustness`: how easily ordinary filters raise the scores of a user's model or of a tool."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paaplus.cli.common import (
    JsonOption,
    console,
    notices,
    open_blobs,
    open_database,
    print_json,
    progress_bar,
    refuse_given,
    require_makeable,
    user_of,
)
from paaplus.cli.evaluate.options import BaseModelOption, CacheOption, Shown, show_all
from paaplus.errors import InvalidInput
from paaplus.numbers import parse_number, parse_numbers
from paaplus.settings import get_settings

if TYPE_CHECKING:
    from paaplus.evaluation.robustness.run import NamedImage, Subject, SubjectReport
    from paaplus.gate.robustness import RobustnessLimits
    from paaplus.models.extractor import Extractor

_BUDGET_HELP = "Largest mean absolute change of pixels: restricted (.05), unrestricted (.15), or a number."


def robustness(
    context: typer.Context,
    user: Annotated[
        list[str] | None, typer.Option(help="A user; with --data, a person of the folder. May be repeated.")
    ] = None,
    tool: Annotated[list[str] | None, typer.Option(help="A tool, see `paaplus tools list`; may be repeated.")] = None,
    images: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Image files to use instead of the platform's.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="A data folder whose people --user names.")
    ] = None,
    version: Annotated[int | None, typer.Option(help="Another version of the user than the active one.")] = None,
    against: Annotated[
        int | None, typer.Option(help="Gate rule: exit code 1 if the version is easier to fool than this one.")
    ] = None,
    max_rise: Annotated[
        str, typer.Option(help="Of --against: RASR in percentage points and MSI in score points, with a comma.")
    ] = "10,0.2",
    aspect: Annotated[str | None, typer.Option(help="Only this aspect.")] = None,
    budget: Annotated[str, typer.Option(help=_BUDGET_HELP)] = "restricted",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most this many images.")] = 20,
    base_model: BaseModelOption = "lite2",
    cache: CacheOption = None,
    out: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Write robustness.json, .md and .html, with images, into this folder."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Edit images by ordinary filters so that scores rise, and say which filter the model wants.

    Black box and without chance. A user's images are those of the user and the shared ones of the application.
    """
    from paaplus.evaluation.robustness.report import (
        FILTER_HEADINGS,
        HEADINGS,
        document_of,
        filter_table,
        table,
        write_report,
    )

    if not user and not tool:
        raise InvalidInput("--user or --tool")
    if (version is not None or against is not None) and (data is not None or not user or len(user) != 1 or tool):
        raise InvalidInput("--version and --against are of one --user of the platform")
    if data is None:
        refuse_given(context, ("base_model", "cache"), "it is for --data")
    elif not user:
        raise InvalidInput("--data is the folder whose people --user names")
    elif not tool:
        refuse_given(
            context, ("images", "aspect"), "it is for users and tools of the platform, not for people of --data"
        )
    if against is None:
        refuse_given(context, ("max_rise",), "it is for --against")
    largest, limits = _budget(budget), _limits(max_rise)
    if out is not None:
        require_makeable(out)
    began = time.perf_counter()
    reports: list[SubjectReport] = []
    if user and data is not None:
        reports += _people(data, user, largest, limit, base_model, cache)
        user = None
    if user or tool:
        reports += _on_platform(user or [], tool or [], images, version, against, aspect, largest, limit)
    document = document_of(reports)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    for file in write_report(reports, out) if out else ():
        notices.print(f"wrote {file}", highlight=False, markup=False, soft_wrap=True)
    edits = sum(one["edits_scored"] for one in document["subjects"])
    notices.print(f"{edits} edits in {time.perf_counter() - began:.0f} s", highlight=False)
    if as_json:
        print_json(document)
    else:
        filters = Shown("each filter alone", FILTER_HEADINGS, filter_table(document), dense=True)
        show_all(document, [Shown("robustness", HEADINGS, table(document)), filters])
        for one in document["subjects"]:
            console.print(one["sentence"], highlight=False, markup=False)
    if against is not None:
        _check(document, limits)


def _budget(text: str) -> float:
    from paaplus.evaluation.robustness.run import BUDGETS

    try:
        return BUDGETS[text] if text in BUDGETS else parse_number(text)
    except InvalidInput:
        raise InvalidInput(f"--budget {text!r:.40}: {', '.join(BUDGETS)}, or a number") from None


def _people(
    data: Path, people: list[str], budget: float, limit: int, base_model: str, cache: Path | None
) -> list[SubjectReport]:
    import torch

    from paaplus.data.features import folder_features
    from paaplus.data.folder import read_folder
    from paaplus.data.readable_images import readable_images
    from paaplus.evaluation.robustness.person import check_people, run_people
    from paaplus.evaluation.train_side import EvaluationData
    from paaplus.models.base_models import load_extractor

    settings = get_settings()
    torch.set_num_threads(settings.torch_threads)
    folder = readable_images(read_folder(data))
    check_people(folder, people)
    extractor = load_extractor(base_model, None, settings.device)
    with progress_bar() as progress:
        task = progress.add_task("features, then images", total=None)

        def report(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        features_ID = folder_features(folder, extractor, cache or settings.home / "cache", progress=report)
        measured_on = EvaluationData(folder, features_ID, extractor.digest, extractor.blocks)
        return run_people(measured_on, extractor, people, budget, limit, report)


def _on_platform(
    users: list[str],
    tools: list[str],
    folder: Path | None,
    version: int | None,
    against: int | None,
    aspect: str | None,
    budget: float,
    limit: int,
) -> list[SubjectReport]:
    from paaplus.evaluation.robustness.run import run_robustness

    pairs: list[tuple[list[Subject], list[NamedImage]]] = []
    with open_database() as database:
        for name in users:
            with database.read_session() as session:
                numbers = [against, version] if against is not None else [version]
                subjects = [one for number in numbers for one in _user_subjects(session, name, number, aspect)]
                pairs.append((subjects, _images(session, name, folder, limit)))
        if tools:
            with database.read_session() as session:
                shown = _images(session, None, folder, limit)
                pairs += [(_tool_subjects(session, name, aspect), shown) for name in tools]
    with progress_bar() as progress:
        task = progress.add_task("images", total=None)
        return [
            run_robustness(
                subject, shown, budget, lambda done, total: progress.update(task, completed=done, total=total)
            )
            for subjects, shown in pairs
            for subject in subjects
        ]


def _images(session: Any, user: str | None, folder: Path | None, limit: int) -> list[NamedImage]:
    from paaplus.evaluation.robustness.run import NamedImage
    from paaplus.image_files import decode_image
    from paaplus.services.images import images as images_service
    from paaplus.services.users import keys

    if folder is not None:
        found = _images_in(folder, limit)
    else:
        owner = user_of(session, user) if user is not None else None
        rows = [
            row
            for row in images_service.list_images(session, keys.OPERATOR, limit=100_000)
            if row.owner_id is None or (owner is not None and row.owner_id == owner.id)
            if owner is None or row.application == owner.application
        ]
        blobs, most = open_blobs(), get_settings().max_image_pixels
        rows = sorted(rows, key=lambda row: str(row.id))[:limit]
        found = [NamedImage(row.name or str(row.id), decode_image(blobs.get(row.sha256), most)) for row in rows]
    if not found:
        raise InvalidInput("no images: add some by `paaplus images add`, or give --images DIR")
    return found


def _images_in(folder: Path, limit: int) -> list[NamedImage]:
    """The first images of a folder. What cannot be read is skipped with a warning."""
    from paaplus.data.image_folder import list_images, report_skipped
    from paaplus.evaluation.robustness.run import NamedImage
    from paaplus.image_files import decode_image

    found: list[NamedImage] = []
    skipped: list[str] = []
    for name, on_disk in list_images(folder).items():
        if len(found) == limit:
            break
        try:
            found.append(NamedImage(name, decode_image((folder / on_disk).read_bytes())))
        except (InvalidInput, OSError) as error:
            skipped.append(f"{name!r} ({error})")
    report_skipped(folder, skipped, strict=False)
    return found


def _extractor(base_row: Any) -> Extractor:
    from paaplus.pipelines.extract_features import cached_extractor

    name, weights = str(base_row.config["extractor"]), base_row.config.get("weights")
    return cached_extractor(name, weights, get_settings().device)


def _user_subjects(session: Any, name: str, number: int | None, aspect: str | None) -> list[Subject]:
    from paaplus.db.tables import BaseModelRow
    from paaplus.evaluation.robustness.run import Subject
    from paaplus.evaluation.robustness.scorers import adapter_scorer
    from paaplus.scoring.adapters import adapter_from_bytes
    from paaplus.services.adapters import versions
    from paaplus.services.registry import base_models

    user = user_of(session, name)
    row = versions.get_version(session, user.id, number) if number is not None else versions.active(session, user.id)
    if row is None:
        base_row, adapter, preference, label = base_models.default(session, get_settings()), None, None, "generic"
    else:
        base_row = session.get(BaseModelRow, row.base_model_id)
        adapter, preference, label = adapter_from_bytes(row.data), row.preference, f"version {row.number}"
    base, extractor = base_models.load(open_blobs(), base_row), _extractor(base_row)
    return [
        Subject(f"{name}, {label}", one, adapter_scorer(extractor, base, adapter, one, preference))
        for one in ([aspect] if aspect else base.aspects)
    ]


def _tool_subjects(session: Any, name: str, aspect: str | None) -> list[Subject]:
    from paaplus.evaluation.robustness.run import Subject
    from paaplus.evaluation.robustness.scorers import tool_scorer
    from paaplus.services.registry import base_models
    from paaplus.tools.files import TOOL_FILES
    from paaplus.tools.registry import ToolContext, build
    from paaplus.tools.tool import Need

    settings = get_settings()
    networks = {}
    if name in TOOL_FILES:
        from paaplus.models.siblings.load import load_tool

        networks[name] = load_tool(settings.home, name, settings.device)
    base_row = base_models.find_default(session, settings)
    base = base_models.load(open_blobs(), base_row) if base_row is not None else None
    tool = build(name, ToolContext(base, networks=networks))
    extractor = _extractor(base_row) if tool.need == Need.FEATURES else None
    return [Subject(name, one, tool_scorer(tool, one, extractor)) for one in ([aspect] if aspect else tool.aspects)]


def _limits(max_rise: str) -> RobustnessLimits:
    from paaplus.gate.robustness import RobustnessLimits

    try:
        most_rasr, most_msi = parse_numbers(max_rise, 2)
    except InvalidInput:
        raise InvalidInput(f"--max-rise {max_rise!r:.40}: RASR,MSI") from None
    return RobustnessLimits(most_rasr, most_msi)


def _check(document: dict[str, Any], limits: RobustnessLimits) -> None:
    from paaplus.gate.robustness import robustness_checks

    half = len(document["subjects"]) // 2
    failed = False
    for parent, candidate in zip(document["subjects"][:half], document["subjects"][half:], strict=True):
        before, after = ((one["measures"]["rasr"], one["measures"]["msi"]) for one in (parent, candidate))
        for check in robustness_checks(before, after, limits):
            failed |= not check.passed
            console.print(f"{'ok' if check.passed else 'refused'}: {check.detail}", highlight=False, markup=False)
    if failed:
        raise typer.Exit(1)
