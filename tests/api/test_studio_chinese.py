"""A Chinese visitor reads Chinese: every page of every kind of session is walked and searched for English sentences."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.resources import files

import pytest
import sqlalchemy as sa

from paaplus.db.tables import AdapterRow
from paaplus.gate import wording
from paaplus.services.adapters import rollbacks
from paaplus.studio import routes
from tests.api.conftest import World
from tests.api.test_studio import HTML, IN_PATHS, post, rating, sign_in

CHINESE = HTML | {"Accept-Language": "zh-CN"}
SENTENCE = re.compile(r"[A-Za-z]{2,}(?:[ ,;:'-]+[A-Za-z]{2,}){2,}")
SPOKEN = ("title", "alt", "aria-label", "placeholder", "data-text", "data-none", "data-loading", "data-selected",
          "data-progress", "data-summary", "data-copied")  # fmt: skip
# Names: of what stands in quotes or is typed by people, and of programs.
ALLOWED = {"studio on this machine", "photographs of the tests"}


class Spoken(HTMLParser):
    """Texts of a page that a person reads. What a program wrote, or names in its files, are marked as English."""

    VOID = frozenset({"area", "br", "col", "hr", "img", "input", "link", "meta", "source"})

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._silent: list[bool] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        silent = tag in ("script", "style", "code") or given.get("lang") == "en" or self._is_silent()
        if not silent:
            self.texts += [given[name] or "" for name in SPOKEN if name in given]
        if tag not in self.VOID:
            self._silent.append(silent)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element of a drawing that is closed at once."""

    def handle_endtag(self, tag: str) -> None:
        self._silent.pop()

    def handle_data(self, data: str) -> None:
        if not self._is_silent():
            self.texts.append(data)

    def _is_silent(self) -> bool:
        return bool(self._silent) and self._silent[-1]


def english_in(page: str) -> list[str]:
    reader = Spoken()
    reader.feed(page)
    found = [match for text in reader.texts for match in SENTENCE.findall(text)]
    return [each for each in found if each not in ALLOWED]


def pages_of(world: World, *kinds: str) -> Iterator[tuple[str, str]]:
    places = IN_PATHS | {"user": str(world.ada)}
    for path, _, needs in routes.GET:
        if needs not in kinds or path.endswith(("/enter", "/news", ".zip", ".csv")):
            continue
        answer = world.client.get(f"/studio{path}".format_map(places), headers=CHINESE)
        if answer.headers["content-type"].startswith("text/html"):
            yield path, answer.text


def test_every_page_speaks_chinese_and_no_english_sentence_is_left(world: World) -> None:
    world.adapter(world.ada, number=1)
    refused = wording.reason(False, [wording.loss(12, -0.4, 0.05, 0.1, 0.8)], [wording.sound_scores(0, 9)])
    check = {
        "name": "loss",
        "passed": False,
        "value": 0.1,
        "limit": 0.8,
        "detail": wording.loss(12, -0.4, 0.05, 0.1, 0.8),
    }
    with world.database.session() as session:
        session.execute(sa.update(AdapterRow).values(gate_report={"reason": refused, "checks": [check]}))
        rollbacks.rollback(
            session, world.ada, to="base", active_number=1, feedback="keep", actor="test", reason="理由"
        )  # fmt: skip
    problems, seen = [], set()
    for scope, kinds in (
        ("admin", ("nothing", "admin")),
        ("user", ("person", "member", "viewer")),
        ("expert", ("expert", "member")),
    ):
        world.client.cookies.clear()
        token = sign_in(world, scope)
        if scope == "user":
            assert post(world, "/rate/answers", rating(world), token).status_code == 200
        for path, page in pages_of(world, *kinds):
            seen.add(path)
            assert 'lang="zh-Hans"' in page, path
            if path == "/watch/people/{user}":
                assert "12 个未用于训练的评分上的平方误差：升高 0.40" in page
            problems += [f"{scope} {path}: {text}" for text in english_in(page)]
    assert problems == []
    assert {"/watch/people/{user}", "/watch/health", "/watch/audit", "/rate", "/order", "/review", "/surveys"} <= seen


def test_pages_of_errors_speak_chinese_too(world: World) -> None:
    token = sign_in(world, "admin")
    user = f"/studio/watch/people/{world.ada}"
    forms = (
        ("/rollback", {"to": "base", "active": "1", "reason": "x"}),
        ("/promote", {"to": "7", "reason": "x"}),
        ("/unpin", {"reason": "x"}),
        ("/rollback", {"to": "x", "active": "1", "reason": "x"}),
        ("/promote", {"to": "7"}),
        ("/dance", {"reason": "x"}),
    )
    for path, form in forms:
        page = world.client.post(user + path, data=form | {"token": token}, headers=CHINESE)
        assert page.status_code >= 400, path
        assert english_in(page.text) == [], (path, form)
    for path in ("/watch/people/nobody", f"/watch/people/{world.ada}/preview?from=x&to=base", "/research?run=none"):
        assert english_in(world.client.get(f"/studio{path}", headers=CHINESE).text) == [], path
    world.client.cookies.clear()
    for page in (
        world.client.get("/studio/enter?code=x", headers=CHINESE),
        world.client.get("/studio/rate", headers=CHINESE),
        world.client.post("/studio/enter", data={"key": "paa_x"}, headers=CHINESE),
    ):
        assert page.status_code == 401
        assert english_in(page.text) == []


def test_an_unknown_sentence_of_a_service_is_left_out_of_a_chinese_page(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from paaplus.errors import Conflict

    def fault(*_: object, **__: object) -> None:
        raise Conflict("something that nobody has a text for")

    sign_in(world, "admin")
    monkeypatch.setattr("paaplus.studio.people.users.list_users", fault)
    assert "nobody has a text" not in world.client.get("/studio/watch", headers=CHINESE).text
    assert "nobody has a text" in world.client.get("/studio/watch", headers=HTML).text


def test_no_chinese_text_of_the_studio_holds_an_english_sentence() -> None:
    commands = {"pip install 'paaplus", "paaplus base-models train"}
    file = files("paaplus.studio").joinpath("languages", "zh.json")
    texts: dict[str, str] = json.loads(file.read_text("utf-8"))
    found = {key: SENTENCE.findall(re.sub(r"\{\w+\}", "", text)) for key, text in texts.items()}
    assert {key: each for key, each in found.items() if each and not set(each) <= commands} == {}
