"""The report as one self-contained HTML page, without scripts and other files, with a dark theme.

The first screen says it all; charts, tables and method follow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from paaplus.data.builtin_set.photographs import PHOTOGRAPHS
from paaplus.demo.report.charts import dumbbells, learning_curves, memory
from paaplus.demo.report.first_screen import first_screen, trio_style
from paaplus.demo.report.strip import Strip
from paaplus.demo.report.style import STYLE
from paaplus.demo.report.trio import Trio

Report = Mapping[str, Any]


def build_page(
    report: Report, strip: Strip | None, commands: Sequence[tuple[str, str]], trio: Trio | None = None
) -> str:
    """The page of a report.

    Args:
        report: what `build_report` built.
        strip: images of one person; None leaves them out.
        commands: (what it does, command line) to try.
        trio: three people beside each other; None leaves them out.
    """
    sections = [
        first_screen(report, trio),
        _cards(report),
        _section(
            "Learning",
            f"""<div class="columns"><figure>{
                learning_curves(report["people"], report["srcc_generic"], report["srcc_by_increment"])
            }<figcaption>Agreement with the person (SRCC) on images whose ratings the platform never got, before
            and after each increment of {report["increment_size"]} ratings. Thin: one person. Thick: their mean. Dashed:
            the generic model, the same for everybody.</figcaption></figure>
            <figure>{dumbbells(report["people"])}<figcaption>Every person: generic (hollow) and personal (full) at the
            end. {_legend()}</figcaption></figure></div>""",
        ),
        _strip_section(strip),
        _section(
            "Remembering",
            f"""<div class="columns"><figure>{memory(report["people"])}<figcaption>Agreement on the images of the
            <em>first</em> increment, most of which trained, after each increment.</figcaption></figure>
            <div><p>Mean forgetting: SRCC right after the first increment minus SRCC at the end:
            <strong>{report["forgetting"]:+.3f}</strong>. Below zero, later feedback improved the scores of the first
            images too.</p>
            <p>Each training uses the new ratings and what its strategy keeps of the past ones: a replay buffer and
            a penalty on changing important parameters (<code>replay_ewc</code>), or the exact posterior of all ratings
            (<code>bayes</code>).</p></div></div>""",
        ),
        _people_table(report),
        _gate(report),
        _rollback(report),
        _what_is_real(report),
        _reading(),
        _commands(commands),
        _made_with(report),
    ]
    body = "\n".join(part for part in sections if part)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>paaplus demo: everybody a judge of their own taste</title><style>{STYLE}{trio_style(trio)}</style></head>
<body><main>{body}</main></body></html>
"""


def _cards(report: Report) -> str:
    gain, (low, high) = report["gain"]["mean"], report["gain"]["interval"]
    bit = report["rollback_bit_for_bit"]
    cards = (
        (
            f"{gain:+.3f}",
            "SRCC over the generic model",
            f"95 % interval {low:+.3f} to {high:+.3f}",
        ),
        (f"{report['users_better']} of {report['num_users']}", "people better served", "than by the generic model"),
        (f"{report['forgetting']:+.3f}", "SRCC forgotten", "on the first increment's images"),
        ("identical" if bit else "DIFFERENT", "scores after the rollback", "compared bit for bit"),
        (
            f"{report['seconds_per_user']:.2f} s",
            "of worker time per person",
            f"for {report['num_increments']} trainings",
        ),
        (_kilobytes(report["bytes_per_user"]), "stored per person", "parameters of the live adapter"),
    )
    items = "".join(
        f'<div class="card"><b>{value}</b><span>{label}</span><small>{note}</small></div>'
        for value, label, note in cards
    )
    return f'<section class="cards">{items}</section>'


def _what_is_real(report: Report) -> str:
    kinds = report["scene_kinds"]
    if report["data_kind"] == "built-in":
        text = f"""<p><strong>The people are simulated.</strong> Each has a hidden taste over properties that are
        measured from the pixels (brightness, warmth, colour, contrast, sharpness, busyness, texture) and over kinds
        of content, adds noise, and uses the scale in their own way. Their tastes do not know the model's features.
        How large the common and the personal part are was set to what real ratings of photographs show, but their
        tastes are simpler than people's: the numbers on this page show that the loop works, not how good it is for
        your users.</p>
        <p><strong>The scenes:</strong> {report["num_scenes"]}, of which {kinds.get("photograph", 0)} are real
        photographs that ship inside Python packages and {kinds.get("synthetic", 0)} are <strong>synthetic</strong>,
        painted by a program. Each comes in variants of exposure, colour, contrast, crop and sharpness:
        {report["num_images"]} images.</p>
        <details><summary>Whose photographs they are</summary><ul>{_credits()}</ul></details>"""
    else:
        who = {"real": "real people", "simulated": "simulated people", "mixed": "real and simulated people"}
        text = f"""<p><strong>The people are {who[report["people_kind"]]}</strong>, whose ratings were read from the
        folder <code>{escape(report["data"])}</code>: {report["num_images"]} images of {report["num_scenes"]} scenes.
        The images shown on this page are theirs: mind the terms they came under before you pass it on.</p>"""
    return _section(
        "What is real here",
        f"""{text}<p><strong>Unseen images:</strong> {report["num_unseen_images"]} images
        ({report["num_unseen_scenes"]} whole scenes) were set aside before anything was trained. The generic model was
        fitted on {report["num_other_people"]} <em>other</em> people's ratings of the remaining images, and nobody's
        rating of a set-aside image was ever posted. All {report["num_users"]} people were drawn by seed
        {report["seeds"]["plan"]} before any training.</p>""",
    )


def _credits() -> str:
    return "".join(f"<li>{escape(p.name)}: {escape(p.source)} ({escape(p.licence)}), altered</li>" for p in PHOTOGRAPHS)


def _strip_section(strip: Strip | None) -> str:
    if strip is None or not strip.images:
        return ""
    figures = "".join(
        f"""<figure class="photo"><img src="{image.data_uri}" alt="{escape(image.name)}" loading="lazy">
        {_scale_line(image.generic, image.personal, image.rated)}
        <figcaption><b>{image.generic:.1f}</b> &rarr; <b class="own">{image.personal:.1f}</b>, rated
        <b class="rated">{image.rated:.1f}</b>{f"<br><small>{escape(image.kind)}</small>" if image.kind else ""}
        </figcaption></figure>"""
        for image in strip.images
    )
    return _section(
        f"Examples: {escape(strip.user_id)}",
        f"""<p>Unseen images with the largest difference between personal and generic score, one per scene. The choice
        does not use the person's ratings; the person is the one with the median gain. On each line from 0 to 10, the
        hollow circle is the generic score, the full circle the personal score, the triangle the person's rating.</p>
        <div class="strip">{figures}</div>""",
    )


def _scale_line(generic: float, personal: float, rated: float) -> str:
    def x(score: float) -> float:
        return 6 + score / 10 * 188

    return (
        '<svg class="scale" viewBox="0 0 200 24" aria-hidden="true">'
        f'<line class="grid" x1="6" x2="194" y1="9" y2="9"/>'
        f'<line class="bar taste" x1="{x(generic):.1f}" x2="{x(personal):.1f}" y1="9" y2="9"/>'
        f'<circle class="hollow" cx="{x(generic):.1f}" cy="9" r="4.5"/>'
        f'<circle class="full taste" cx="{x(personal):.1f}" cy="9" r="5"/>'
        f'<path class="mark" d="M{x(rated):.1f} 14 l-4.5 8 h9 z"/></svg>'
    )


def _people_table(report: Report) -> str:
    rows, mixed = [], report["people_kind"] == "mixed"
    for person in sorted(report["people"], key=lambda p: -p["gain"]):
        curve = " &rarr; ".join(f"{value:.3f}" for value in person["srcc_by_increment"][1:])
        live = " &rarr; ".join(_live(number) for number in person["live_by_increment"][1:])
        sign = "worse" if person["gain"] <= 0 else "better"
        rows.append(
            f"<tr><td>{escape(person['id'])}{' (' + person['kind'] + ')' if mixed else ''}</td>"
            f"<td class=w>{_learner(person)}</td><td class=n>{person['srcc_generic']:.3f}</td><td class=n>{curve}</td>"
            f'<td class="n {sign}">{person["gain"]:+.3f}</td><td class=n>{person["forgetting"]:+.3f}</td>'
            f"<td class=n>{live}</td><td class=n>{person['seconds']:.2f} s</td>"
            f"<td class=n>{_kilobytes(person['bytes'])}</td></tr>"
        )
    return _section(
        "Everybody",
        f"""<div class="scroll"><table><thead><tr><th>person</th><th>adapter + strategy</th>
        <th class=n>generic</th><th class=n>personal, after each increment</th><th class=n>gain</th>
        <th class=n>forgot</th>
        <th class=n>live version</th><th class=n>training</th><th class=n>size</th></tr></thead>
        <tbody>{"".join(rows)}</tbody></table></div>
        <p class="note">Mean gain by learner: {
            ", ".join(f"{escape(name)} {gain:+.3f}" for name, gain in report["gain_by_learner"].items())
        }.</p>""",
    )


def _gate(report: Report) -> str:
    refused = [
        (person["id"], version)
        for person in report["people"]
        for version in person["versions"]
        if not version["promoted"]
    ]
    shown = "".join(
        f"<li><b>{escape(user_id)}, version {version['number']}</b>: {escape(version['reason'])}</li>"
        for user_id, version in refused[:12]
    )
    example = next(
        (v["reason"] for p in report["people"] for v in reversed(p["versions"]) if v["promoted"] and v["reason"]), ""
    )
    return _section(
        "The gate",
        f"""<p>One rating in five is held out of training and tests candidates. Of {report["num_trainings"]} candidates,
        <strong>{report["gate_promoted"]}</strong> were promoted and <strong>{report["gate_refused"]}</strong> were
        rejected, each with its reason.</p>{f"<ul>{shown}</ul>" if shown else ""}
        {f'<p class="note">An example of a reason: {escape(example)}</p>' if example else ""}""",
    )


def _rollback(report: Report) -> str:
    proof = report["rollback"]
    if proof is None:
        return ""
    rows = "".join(
        f"<tr><td class=w>{escape(str(entry['created_at'])[:19].replace('T', ' '))}</td>"
        f"<td class=w>{escape(entry['move'])}</td>"
        f"<td class=n>{_live(entry['from'])} &rarr; {_live(entry['to'])}</td>"
        f"<td class=w>{escape(entry['actor'])}</td><td>{escape(entry['reason'])}</td></tr>"
        for entry in proof["history"]
    )
    target = f"version {proof['to_number']}" if proof["to_number"] is not None else "the base model"
    checks = (
        (
            proof["bit_for_bit"],
            f"All {proof['num_scores']} scores equal, bit for bit, those recorded while {target} was live"
            f" ({proof['num_changed_between']} images had other scores in between); the adapter's digest is the same.",
        ),
        (
            proof["not_undone"],
            f"The {proof['num_excluded']} events after it are excluded: {proof['quiet_scans']} scans of the scheduler"
            f" passed and nothing trained. Then {proof['new_ratings']} new ratings came, and version"
            f" {proof['next_version']} was trained from {target} on {proof['next_num_ratings']} ratings"
            f" ({proof['old_num_ratings']} before): the rollback was not undone.",
        ),
    )
    items = "".join(f'<li class="{"pass" if good else "fail"}">{escape(text)}</li>' for good, text in checks)
    return _section(
        f"Rolled back: {escape(proof['user_id'])}, version {proof['from_number']} to {target}",
        f"""<ul class="checks">{items}</ul><div class="scroll"><table class="stack"><thead><tr>
        <th>when (UTC)</th><th>move</th><th class=n>version</th><th>who</th><th>why</th></tr></thead>
        <tbody>{rows}</tbody></table></div>""",
    )


def _reading() -> str:
    return _section(
        "How to read it",
        """<ul><li><strong>SRCC</strong> is Spearman's rank correlation: 1 means that scores order images exactly as
        the person does, 0 that the two orders are unrelated. People contradict themselves, so nobody reaches 1.</li>
        <li><strong>Generic</strong> is the score of the frozen base model, the same for everybody; without feedback,
        everybody gets exactly it. <strong>Gain</strong> is personal minus generic on the same images.</li>
        <li>The <strong>interval</strong> resamples the people, 10,000 times. With so few people it is wide: another
        seed chooses other people, and the mean can change by as much as the interval's width.</li>
        <li><strong>Scores</strong> are on 0 to 10, whatever scale people rated on.</li></ul>""",
    )


def _commands(commands: Sequence[tuple[str, str]]) -> str:
    lines = "\n".join((f"<span># {escape(what)}</span>\n" if what else "") + escape(line) for what, line in commands)
    return _section("Try it", f"<pre>{lines}</pre>") if commands else ""


def _made_with(report: Report) -> str:
    base = report["base_model"]
    steps = ", ".join(f"{escape(name)} {seconds:.1f} s" for name, seconds in report["seconds"].items())
    versions = ", ".join(f"{escape(name)} {escape(version)}" for name, version in report["versions"].items())
    return f"""<footer><p>Base model {escape(str(base["name"]))}@{base["version"]}, digest
    <code>{escape(str(base["digest"])[:16])}</code>. {versions}. Seed {report["seeds"]["plan"]}. Wall clock: {steps}.
    The numbers behind this page are in <code>report.json</code> beside it.</p></footer>"""


def _section(title: str, body: str) -> str:
    return f"<section><h2>{title}</h2>{body}</section>"


def _live(number: int | None) -> str:
    """The name of a served version, or of the base model."""
    return "base" if number is None else str(number)


def _learner(person: Mapping[str, Any]) -> str:
    css = "bottleneck" if person["adapter"] == "bottleneck" else "taste"
    return f'<span class="chip {css}"></span>{escape(person["adapter"])} + {escape(person["strategy"])}'


def _legend() -> str:
    return (
        '<span class=learner><span class="chip bottleneck"></span>bottleneck + replay_ewc</span> '
        '<span class=learner><span class="chip taste"></span>taste_vector + bayes</span>'
    )


def _kilobytes(size_bytes: float) -> str:
    return f"{size_bytes / 1024:.1f} kB"
