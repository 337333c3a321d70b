"""`paaplus evaluate survey`: what surveys tell of taste, on people who were not learned from. Needs no database."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paaplus.cli.common import JsonOption, print_json
from paaplus.cli.evaluate.options import (
    BaseModelOption,
    CacheOption,
    LimitOption,
    ScaleOption,
    SeedsOption,
    SplitOption,
    TuningOption,
    WeightsOption,
    evaluate,
    numbers,
    show,
    write,
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
    cache: CacheOption = None,
    out: Annotated[Path | None, typer.Option(help="Write survey.json and survey.md into this folder.")] = None,
    as_json: JsonOption = False,
) -> None:
    """SRCC after k ratings with and without a survey's shift of the prior: the columns of users.csv, pairs of images
    that train people disagree on (answers worked out from real ratings), the same shuffled, and as comparisons.
    """
    from paaplus.evaluation.survey import run as evaluation
    from paaplus.evaluation.survey.summary import HEADINGS, table, write_report

    config = evaluation.SurveyConfig(
        ks=numbers("k", k),
        seeds=numbers("seeds", seeds),
        num_pairs=pairs,
        image_group=image_group,
        limit_people=limit_people,
    )
    document = evaluate(
        evaluation.run_survey,
        config,
        data,
        split=split,
        base_model=base_model,
        weights=weights,
        scale=scale,
        cache=cache,
        out=out,
        tuning=tuning,
    )
    write(write_report, document, out)
    if as_json:
        print_json(document)
        return
    title = f"{data.name}: SRCC with and without a survey, mean over seeds {list(config.seeds)}"
    show(title, HEADINGS, table(document))
