"""`paaplus evaluate matching`: how much experts' models and a quiz of pairs help a new user."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from paaplus.cli.common import DecimalOption, DelimiterOption, JsonOption, StrictOption
from paaplus.cli.evaluate.options import (
    BaseModelOption,
    CacheOption,
    DataOption,
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


def matching(
    data: DataOption,
    pairs: Annotated[str, typer.Option(help="Numbers of quiz answers, with commas.")] = "0,4,8,12",
    k: Annotated[str, typer.Option(help="Numbers of ratings, with commas.")] = "5,10,25",
    experts: Annotated[str, typer.Option(help="Smaller model bases beside all train people.")] = "5,20,100",
    seeds: SeedsOption = "0,1,2",
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
        Path | None, typer.Option(file_okay=False, help="Write matching.json and matching.md into this folder.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """SRCC of new users after quiz answers and first ratings, with people of the training set as experts.

    Test people are the new users. A pair is answered as the person's ratings of its two images say.
    """
    from paaplus.evaluation.matching.config import MatchingConfig
    from paaplus.evaluation.matching.report import table, write_report
    from paaplus.evaluation.matching.run import run_matching
    from paaplus.evaluation.paired_report import HEADINGS

    config = MatchingConfig(
        pairs=numbers("pairs", pairs),
        ks=numbers("k", k),
        num_experts=numbers("experts", experts) if experts else (),
        seeds=numbers("seeds", seeds),
        limit_people=limit_people,
    )

    def show(document: dict[str, Any]) -> Iterator[Shown | str]:
        title = f"{data.name}: SRCC per person, {document['config']['num_people']} people"
        yield Shown(title, HEADINGS, table(document))
        for name, gain in document["quiz"].items():
            yield f"{name}: {gain['mean']:+.4f} \\[{gain['low']:+.4f}, {gain['high']:+.4f}]"

    evaluate(
        run_matching,
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
        tuning=tuning,
    )
