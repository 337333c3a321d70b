"""The report's first screen: the claim, three people beside each other, a refused batch, a rollback.

A row of radio buttons chooses how many ratings have trained; CSS shows the order that belongs to it. No script.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from paaplus.demo.report.trio import Trio, TrioPerson

Report = Mapping[str, Any]

_WHO = {"simulated": "simulated people", "real": "real people", "mixed": "real and simulated people"}


def first_screen(report: Report, trio: Trio | None) -> str:
    """The first screen as HTML."""
    return (
        f"""{_claim(report)}{_three(report, trio)}<div class="proofs">{_refused(report)}{_rolled_back(report)}</div>"""
    )


def trio_style(trio: Trio | None) -> str:
    """CSS of the pictures, each stored once, and of what each radio button shows."""
    if trio is None:
        return ""
    pictures = "".join(f".p{place}{{background-image:url({uri})}}" for place, uri in enumerate(trio.pictures.values()))
    shown = ",".join(f"#r{n}:checked~.trio .r{n}" for n in range(len(trio.num_ratings)))
    chosen = ",".join(f"#r{n}:checked~.steps [for=r{n}]" for n in range(len(trio.num_ratings)))
    focused = ",".join(f"#r{n}:focus-visible~.steps [for=r{n}]" for n in range(len(trio.num_ratings)))
    return (
        f"{pictures}.round{{display:none}}{shown}{{display:block}}"
        f"{chosen}{{background:var(--ink);color:var(--paper)}}{focused}{{outline:2px solid var(--taste)}}"
    )


def _claim(report: Report) -> str:
    when = escape(report["created_at"][:16].replace("T", " "))
    num = report["increment_size"] * report["num_increments"]
    return f"""<header><p class="eyebrow">paaplus demo &middot; {when} UTC</p>
<h1>The same pictures, and for each person their own order</h1>
<p class="lead">{report["num_users"]} {_WHO[report["people_kind"]]} rated {num} pictures each. Of pictures that they had
not rated, {report["users_better"]} of {report["num_users"]} get a better order than everybody&rsquo;s: rank correlation
with their own stars {report["srcc_generic"]:.2f} before, {report["srcc_personal"]:.2f} after.</p></header>"""


def _three(report: Report, trio: Trio | None) -> str:
    if trio is None:
        return ""
    place_of = {image: place for place, image in enumerate(trio.pictures)}
    last = len(trio.num_ratings) - 1
    buttons = "".join(
        f'<input type="radio" name="round" id="r{n}"{" checked" if n == last else ""}>' for n in range(last + 1)
    )
    labels = "".join(f'<label for="r{n}">{num}</label>' for n, num in enumerate(trio.num_ratings))
    told = {person["id"]: person for person in report["people"]}
    people = "".join(_person(person, trio, place_of, told[person.user_id]) for person in trio.people)
    return f"""<section class="top">{buttons}<p class="steps"><span>Ratings so far:</span>{labels}</p>
<div class="trio">{people}</div>
<p class="note">The stars are what the person really gave, of {trio.best:g}; the platform never got these ratings. In
each heading: the mean of the six, and the rank correlation of the whole order with the person&rsquo;s stars. Shown are
the {len(trio.people)} people whose ratings agree least with one another.</p></section>"""


def _person(person: TrioPerson, trio: Trio, place_of: Mapping[str, int], told: Mapping[str, Any]) -> str:
    everybody = person.mean(person.generic)
    rounds = "".join(
        f"""<div class="round r{n}"><h4>Own order, after {num} ratings
        <b>&#9733; {person.mean(images):.1f} &middot; {told["srcc_by_increment"][n]:.2f}</b></h4>
        {_pictures(images, person, place_of)}</div>"""
        for n, (num, images) in enumerate(zip(trio.num_ratings, person.personal, strict=True))
    )
    return f"""<article><h3>{escape(person.user_id)} <small>{escape(person.kind)}</small></h3>
<h4>Everybody&rsquo;s order <b class="before">&#9733; {everybody:.1f} &middot; {told["srcc_generic"]:.2f}</b></h4>
{_pictures(person.generic, person, place_of)}{rounds}</article>"""


def _pictures(images: Sequence[str], person: TrioPerson, place_of: Mapping[str, int]) -> str:
    items = "".join(
        f"""<li role="img" class="p{place_of[image]}" title="{escape(_title(image))}"
        aria-label="{escape(_title(image))}: {person.ratings[image]:g} stars"><span>&#9733;
        {person.ratings[image]:g}</span></li>"""
        for image in images
    )
    return f"<ol class=six>{items}</ol>"


def _title(image: str) -> str:
    return image.rsplit(".", 1)[0].removesuffix("_00").replace("_", " ")


def _refused(report: Report) -> str:
    rubbish = report["rubbish"]
    if rubbish is None:
        return ""
    mark, title = ("pass", "Rubbish refused") if rubbish["refused"] else ("fail", "Rubbish was learned")
    effect = "; they train nothing" if rubbish["refused"] else ""
    return f"""<div class="proof"><h3 class="{mark}">{title}</h3><p>{rubbish["num_posted"]} random ratings were posted
for {escape(rubbish["user_id"])}. The gate set {rubbish["num_set_aside"]} aside{effect}. Rank correlation with the
person&rsquo;s stars: {rubbish["srcc_before"]:.2f} before, {rubbish["srcc_after"]:.2f} after.</p>
{_quote(rubbish["reason"])}</div>"""


def _rolled_back(report: Report) -> str:
    proof = report["rollback"]
    if proof is None:
        return ""
    good = proof["bit_for_bit"] and proof["not_undone"]
    target = f"version {proof['to_number']}" if proof["to_number"] else "the base model"
    return f"""<div class="proof"><h3 class="{"pass" if good else "fail"}">Rolled back</h3><p>{escape(proof["user_id"])}
went back from version {proof["from_number"]} to {target}. {proof["num_changed_between"]} scores had changed in between;
{"all" if proof["bit_for_bit"] else "<b>not</b> all"} {proof["num_scores"]} are what they were, bit for bit, and the
next training {"did not undo it" if proof["not_undone"] else "<b>undid it</b>"}.</p>{_quote(_why(proof))}</div>"""


def _why(proof: Mapping[str, Any]) -> str:
    return next((str(entry["reason"]) for entry in proof["history"] if entry["move"] == "rolled_back"), "")


def _quote(text: str) -> str:
    return f"<blockquote>{escape(text)}</blockquote>" if text else ""
