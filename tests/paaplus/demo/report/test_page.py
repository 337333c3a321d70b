from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from paaplus.demo.report.build import build_report
from paaplus.demo.report.charts import dumbbells, learning_curves, memory
from paaplus.demo.report.page import build_page
from paaplus.demo.report.strip import NUM_IMAGES, make_strip
from paaplus.demo.report.trio import make_trio

COMMANDS = [("versions & history", "paaplus adapters list demo/u01"), ("", "curl 'http://x' -d '{\"a\": 1}'")]
VOID = {"meta", "img", "br", "input"}


@pytest.fixture
def report(canned_run):
    return build_report(canned_run)


@pytest.fixture
def page(report, canned_run):
    strip = make_strip(canned_run.folder, canned_run.plan, report, canned_run.rounds[-1])
    trio = make_trio(canned_run.folder, canned_run.plan, canned_run.rounds)
    return build_page(report, strip, COMMANDS, trio)


class Balance(HTMLParser):
    """Fails on a tag that is closed and not open; `open` is what is left in the end."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag


def test_the_page_is_well_formed_and_stands_alone(page):
    balance = Balance()
    balance.feed(page)
    assert balance.open == []
    assert "<script" not in page
    assert not re.search(r'(?:src|href)="(?!data:)', page)
    assert "@import" not in page


def test_the_page_tells_the_headline_numbers(page, report):
    for text in (
        f"{report['gain']['mean']:+.3f}",
        f"{report['users_better']} of {report['num_users']}",
        f"{report['forgetting']:+.3f}",
        "identical",
        "All 90 scores equal, bit for bit",
        "demo: the last update is not wanted",
    ):
        assert text in page
    for person in report["people"]:
        assert person["id"] in page


def test_who_has_no_version_yet_is_served_by_the_base(report):
    report["rollback"]["history"][-1]["from"] = None
    report["people"][0]["live_by_increment"] = [None, None, 1, 2]
    page = build_page(report, None, COMMANDS)
    assert "base &rarr; 1 &rarr; 2" in page
    assert "None" not in page


def test_what_others_wrote_is_escaped(page):
    assert "Refused. &lt;worse&gt; on 9 ratings." in page
    assert "versions &amp; history" in page


def test_real_people_are_called_real_and_nothing_simulated(page):
    assert "The people are real people" in page
    assert "simulated" not in page
    assert "synthetic" not in page


def test_the_built_in_set_is_called_simulated_and_synthetic(report):
    people = [{**person, "kind": "simulated"} for person in report["people"]]
    kinds = {"photograph": 11, "synthetic": 29}
    told = {**report, "data_kind": "built-in", "people_kind": "simulated", "people": people, "scene_kinds": kinds}
    page = build_page(told, None, [])
    assert "The people are simulated." in page
    assert "11 are real" in page
    assert re.search(r"29 are <strong>synthetic</strong>", page)


def test_the_first_screen_is_the_claim_three_people_a_refusal_and_a_rollback(page, report):
    first = page[: page.index('class="cards"')]
    assert f"{report['users_better']} of {report['num_users']}" in first
    assert first.count("<article>") == 3
    assert [int(n) for n in re.findall(r'<label for="r\d">(\d+)<', first)] == [0, 20, 40, 60]
    assert first.count(" checked") == 1
    assert "Rubbish refused" in first
    assert "Quarantined: 20 events &lt;follow&gt; no order." in first
    assert "Rolled back" in first
    assert "data:image" not in first[first.index("</style>") :], "each picture is stored once, in the style"


def test_rubbish_that_was_learned_is_not_dressed_up(report):
    told = {**report, "rubbish": {**report["rubbish"], "num_set_aside": 0, "srcc_after": 0.1, "refused": False}}
    page = build_page(told, None, [])
    assert "Rubbish was learned" in page
    assert "0.50 before, 0.10 after" in " ".join(page.split())
    assert "Rubbish" not in build_page({**report, "rubbish": None}, None, [])


def test_a_rollback_that_failed_is_not_dressed_up(report):
    failed = {**report, "rollback_bit_for_bit": False, "rollback": {**report["rollback"], "bit_for_bit": False}}
    page = build_page(failed, None, [])
    assert "DIFFERENT" in page
    assert 'class="fail"' in page


def test_the_strip_shows_the_middle_person_and_one_image_a_scene(report, canned_run):
    strip = make_strip(canned_run.folder, canned_run.plan, report, canned_run.rounds[-1])
    gains = {person["id"]: person["gain"] for person in report["people"]}
    assert sorted(gains.values())[len(gains) // 2] == gains[strip.user_id]
    assert len(strip.images) == NUM_IMAGES
    scene_of = dict(zip(canned_run.folder.images, canned_run.folder.scene_I.tolist(), strict=True))
    assert len({scene_of[image.name] for image in strip.images}) == NUM_IMAGES
    moved = [image.personal - image.generic for image in strip.images]
    assert moved == sorted(moved, reverse=True)
    for image in strip.images:
        assert image.data_uri.startswith("data:image/jpeg;base64,")
        assert image.personal == pytest.approx(image.rated)  # canned: the last round serves the ratings


def test_charts_are_svg_with_a_mark_per_person(report):
    people = report["people"]
    curves = ElementTree.fromstring(learning_curves(people, report["srcc_generic"], report["srcc_by_increment"]))
    assert len(curves.findall("polyline")) == len(people) + 1
    bells = ElementTree.fromstring(dumbbells(people))
    assert len(bells.findall("circle")) == 2 * len(people)
    kept = ElementTree.fromstring(memory(people))
    assert len(kept.findall("polyline")) == 2


def test_marks_stay_inside_their_chart(report):
    people = [
        {**person, "srcc_generic": -0.9, "srcc_by_increment": [-0.9, -0.2, 0.5, 0.99]} for person in report["people"]
    ]
    for chart in (learning_curves(people, -0.9, [-0.9, -0.2, 0.5, 0.99]), dumbbells(people)):
        svg = ElementTree.fromstring(chart)
        _, _, width, height = (float(v) for v in svg.attrib["viewBox"].split())
        for circle in svg.findall("circle"):
            assert 0 <= float(circle.attrib["cx"]) <= width
            assert 0 <= float(circle.attrib["cy"]) <= height
