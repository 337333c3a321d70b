"""Report of the stream study: JSON, Markdown tables and, if matplotlib is installed, plots."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from paaplus.evaluation.report_files import markdown_table, write_files

HEADINGS = (
    "learner",
    "SRCC",
    "gain, 95 %",
    "ahead, 95 %",
    "PLCC",
    "MAE",
    "ACC",
    "old SRCC",
    "old MAE",
    "forgetting, 95 %",
    "BWT",
    "flips",
    "ms",
    "KB",
)

_MARKER_NAMES = {"o": "circles", "s": "squares", "D": "diamonds", "^": "triangles"}


def table(entries: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """One scenario's summary as rows of text under `HEADINGS`."""
    return [
        (
            entry["learner"],
            f"{entry['srcc']['mean']:.3f}",
            _signed(entry["gain"]),
            _signed(entry["ahead"]),
            f"{entry['plcc']['mean']:.3f}",
            f"{entry['mae']['mean']:.2f}",
            f"{entry['acc']['mean']:.3f}",
            f"{entry['earlier_srcc']['mean']:.3f}",
            f"{entry['earlier_mae']['mean']:.2f}",
            _signed(entry["forgetting"]),
            f"{entry['bwt']['mean']:+.3f}",
            f"{entry['negative_flip_rate']['mean']:.2%}",
            f"{entry['seconds'] * 1000:.1f}",
            f"{(entry['adapter_bytes'] + entry['state_bytes']) / 1000:.1f}",
        )
        for entry in entries
    ]


def title(document: dict[str, Any], scenario: str) -> str:
    """The title of a scenario's table."""
    config, (first, *_) = document["config"], document["summary"][scenario]
    return (
        f"{Path(config['data']).name}, {scenario}: {config['num_ratings']} ratings in increments of "
        f"{config['increment']}; {first['num_people']} streams, seeds {config['seeds']}; "
        f"generic SRCC {first['generic_srcc']:.3f}"
    )


def write_report(document: dict[str, Any], folder: Path) -> list[Path]:
    """Write `stream.json`, `stream.md` and, if matplotlib is installed, `stream-SCENARIO.png`; returns the files.

    Raises:
        InvalidInput: `folder` is a file.
    """
    files = write_files(folder, "stream", document, _markdown(document))
    if find_spec("matplotlib"):
        for scenario in document["summary"]:
            files.append(folder / f"stream-{scenario}.png")
            _plot(document, scenario, files[-1])
    return files


def _signed(measure: dict[str, float]) -> str:
    mean, low, high = (f"{measure[name]:+.3f}".replace("0.", ".", 1) for name in ("mean", "low", "high"))
    return f"{mean} [{low.removeprefix('+')}, {high.removeprefix('+')}]"


def _markdown(document: dict[str, Any]) -> str:
    lines = ["# Stream study", ""]
    for scenario, entries in document["summary"].items():
        lines += [
            f"## {title(document, scenario)}",
            "",
            *markdown_table(HEADINGS, table(entries)),
            "",
        ]
    lines += [
        "| column | meaning |",
        "|---|---|",
        "| SRCC, PLCC, MAE, ACC | on test images, after the last increment |",
        "| gain | SRCC minus that of the generic score |",
        "| ahead | SRCC minus that of the first learner |",
        "| old SRCC, old MAE | on the images of all increments but the last, as they were rated then |",
        "| forgetting, BWT | of minus the MAE on an increment's images, in score points |",
        "| flips | share of test images that an update moves to the wrong side of the middle of the scale |",
        "| 95 % | bootstrap interval over people |",
        "| ms | CPU time of one training |",
        "| KB | size of adapter and learner state at the end |",
        "",
    ]
    return "\n".join(lines)


def _plot(document: dict[str, Any], scenario: str, file: Path) -> None:
    """One panel per adapter kind with SRCC over time; on the right, SRCC at the end against forgetting."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure  # pyplot would add global state and need a display

    entries = document["summary"][scenario]
    learners = [entry["learner"].split(":") for entry in entries]
    adapters, strategies = (list(dict.fromkeys(names)) for names in zip(*learners, strict=True))
    color = {strategy: colormaps["tab20"](i % 20) for i, strategy in enumerate(strategies)}
    marker = dict(zip(adapters, "osD^", strict=False))
    figure = Figure(figsize=(4.2 * (len(adapters) + 1), 5.5), layout="constrained")
    *panels, last = figure.subplots(1, len(adapters) + 1)
    for (adapter, strategy), entry in zip(learners, entries, strict=True):
        axes = panels[adapters.index(adapter)]
        num_ratings = [document["config"]["increment"] * (i + 1) for i in range(len(entry["curve"]))]
        axes.plot(num_ratings, entry["curve"], color=color[strategy], linewidth=1.4)
        forgetting, srcc = entry["forgetting"], entry["srcc"]
        error = [[forgetting["mean"] - forgetting["low"]], [forgetting["high"] - forgetting["mean"]]]
        last.errorbar(
            forgetting["mean"], srcc["mean"], xerr=error, marker=marker[adapter], color=color[strategy], elinewidth=0.8
        )
    low, high = min(min(entry["curve"]) for entry in entries), max(max(entry["curve"]) for entry in entries)
    for adapter, axes in zip(adapters, panels, strict=True):
        axes.set(title=f"{adapter} ({_MARKER_NAMES[marker[adapter]]} on the right)", xlabel="ratings given")
        axes.set(ylabel="SRCC on unseen images", ylim=(low - 0.01, high + 0.01))
    last.set(xlabel="forgetting (MAE on earlier increments, score points)", ylabel="SRCC on unseen images at the end")
    lines = [panels[0].plot([], [], color=color[strategy], linewidth=3)[0] for strategy in strategies]
    figure.legend(lines, strategies, loc="outside lower center", ncols=7, fontsize=8)
    figure.suptitle(title(document, scenario), fontsize=10)
    figure.savefig(file, dpi=110)
