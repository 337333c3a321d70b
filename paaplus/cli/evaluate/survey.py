"""`paaplus evaluate survey`: how much a survey's answers improve the scores of new people."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from paaplus.cli.common import DecimalOption, DelimiterOption, JsonOption, StrictOption
from paaplus.cli.evaluate.options import (
    BaseModelOption,
    CacheOption,
    LimitOption,
    Report,
    ScaleOption,
    SeedsOption,
    Shown,
    SplitOption,
    TuningOption,
    WeightsOption,
    evaluate,
    numbers,
)


def survey(
    data: Annotated[Path, typer.Option(exists=True, file_okay=False, help="images/, ratings.csv and users.csv.")],
    k: Annotated[str, typer.Option(help="Numbers of ratings, with commas.")] = "0,10,25",
    seeds: SeedsOption = "0,1,2",
    pairs: Annotated[int, typer.Option(min=1, help="Pairs of images in the survey that asks about images.")] = 10,
    image_group: Annotated[
        str, typer.Option(help="Column of images.csv that tells apart what different people saw.")
    ] = "subset",
    limit_people: LimitOption = None,
    tuning: TuningOption = False,
    split: SplitOption = None,
    base_model: BaseModelOption = "lite2",
    weights: WeightsOption = None,
    scale: ScaleOption = None,
    delimiter: DelimiterOption = ",",
    decimal_mark: DecimalOption = ".",
    strict: StrictOption = False,
    cache: CacheOption = None,
    out: Annotated[
        Path | None, typer.Option(file_okay=False, help="Write survey.json and survey.md into this folder.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """SRCC after k ratings, with and without the shift of the prior that a survey's answers give.

    Surveys: the columns of users.csv; pairs of images on which train people disagree, answered as the ratings say;
    the same shuffled; and the pairs as comparisons.
    """
    from paaplus.evaluation.feasible import Needs
    from paaplus.evaluation.survey.config import SurveyConfig
    from paaplus.evaluation.survey.report import HEADINGS, table, write_report
    from paaplus.evaluation.survey.run import run_survey

    config = SurveyConfig(
        ks=numbers("k", k),
        seeds=numbers("seeds", seeds),
        num_pairs=pairs,
        image_group=image_group,
        limit_people=limit_people,
    )

    def show(document: dict[str, Any]) -> Iterator[Shown]:
        title = f"{data.name}: SRCC with and without a survey, mean over seeds {list(config.seeds)}"
        yield Shown(title, HEADINGS, table(document))

    evaluate(
        run_survey,
        config,
        Report(write_report, show),
        data=data,
        split=split,
        base_model=base_model,
        weights=weights,
        scale=scale,
        delimiter=delimiter,
        decimal_mark=decimal_mark,
        strict=strict,
        cache=cache,
        out=out,
        as_json=as_json,
        seeds=config.seeds,
        needs=Needs(learned_prior=config.learned_prior, user_columns=True),
        tuning=tuning,
    )
