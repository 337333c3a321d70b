"""`paaplus feedback import` and `paaplus images add`: every rating on the right image, whole or not at all."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from PIL import Image

from paaplus.cli import main as cli
from paaplus.db.engine import Database
from paaplus.db.tables import FeedbackRow, ImageRow, UserRow
from paaplus.errors import Unavailable
from paaplus.pipelines import import_ratings as importing
from paaplus.services.feedback import intake
from paaplus.settings import Settings, get_settings
from tests.support.databases import on_one_database

SHOP = ("--application", "shop")
OPTIONS = ("--scale", "1,5", "--aspect", "beauty", *SHOP, "--json")
Run = Callable[..., Any]


@pytest.fixture
def run(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    monkeypatch.setenv("PAAPLUS_HOME", str(settings.home))
    monkeypatch.setenv("PAAPLUS_DATABASE_URL", settings.database_url)
    get_settings.cache_clear()

    def call(*arguments: str, exit_code: int = 0) -> Any:
        monkeypatch.setattr(sys, "argv", ["paaplus", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ending:
            cli.main()
        printed = capsys.readouterr()
        assert ending.value.code == exit_code, printed.err
        return json.loads(printed.out) if "--json" in arguments and not exit_code else printed.err + printed.out

    return call


@pytest.fixture
def add(run: Run, tmp_path: Path) -> Callable[..., str]:
    def add_image(name: str, colour: str = "red") -> str:
        """The id of a new image of that colour, added from a file of that name."""
        file = tmp_path / colour / name
        file.parent.mkdir(exist_ok=True)
        Image.new("RGB", (40, 30), colour).save(file)
        added: str = run("images", "add", str(file), *SHOP, "--json")[0]["id"]
        return added

    return add_image


@pytest.fixture
def ratings(run: Run, tmp_path: Path) -> Callable[..., Any]:
    file = tmp_path / "ratings.csv"

    def import_text(text: str | bytes, *more: str, exit_code: int = 0) -> Any:
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        return run("feedback", "import", str(file), *OPTIONS, *more, exit_code=exit_code)

    return import_text


def log(database: Database, user: str = "ben") -> list[float]:
    with database.read_session() as session:
        rows = session.execute(
            sa.select(FeedbackRow.payload)
            .join(UserRow, UserRow.id == FeedbackRow.user_id)
            .where(UserRow.external_id == user)
            .order_by(FeedbackRow.sequence)
        ).scalars()
        return [row["ratings"]["beauty"] for row in rows]


def num_users(database: Database) -> int:
    with database.read_session() as session:
        return session.execute(sa.select(sa.func.count()).select_from(UserRow)).scalar_one()


def test_name_of_two_images_is_refused_with_their_ids(
    database: Database, add: Callable[..., str], ratings: Callable[..., Any]
) -> None:
    first, second = add("IMG_0001.jpg"), add("IMG_0001.jpg", "blue")
    told = ratings("user_id,image,rating\nben,IMG_0001.jpg,3\n", exit_code=1)
    assert "line 2: 2 images named 'IMG_0001.jpg'" in told
    assert first in told
    assert second in told
    assert (num_users(database), log(database)) == (0, [])
    assert ratings(f"user_id,image,rating\nben,{second},3\n") == {"accepted": 1, "duplicates": 0}
    with database.read_session() as session:
        assert str(session.execute(sa.select(FeedbackRow.image_id)).scalar_one()) == second


@on_one_database
def test_second_name_of_a_file_and_a_doubled_name_are_told_when_added(run: Run, tmp_path: Path) -> None:
    files = [tmp_path / "a.png", tmp_path / "b.png", tmp_path / "card" / "a.png"]
    files[2].parent.mkdir()
    for file, colour in zip(files, ("red", "red", "blue"), strict=True):
        Image.new("RGB", (40, 30), colour).save(file)
    told = run("images", "add", *map(str, files), *SHOP)
    assert "b.png: stored before, under the name 'a.png'" in told
    assert "2 images are named 'a.png' now; imports need their ids" in told
    assert "stored before" not in run("images", "add", str(files[0]), *SHOP)


@on_one_database
def test_file_that_cannot_be_read_does_not_stop_the_others(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [tmp_path / f"{name}.png" for name in "abc"]
    for i, file in enumerate(files):
        Image.new("RGB", (40, 30), (i, 0, 0)).save(file)
    read = Path.read_bytes

    def failing(path: Path) -> bytes:
        if path == files[1]:
            raise OSError(5, "Input/output error", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", failing)
    told = run("images", "add", *map(str, files), *SHOP, exit_code=1)
    assert "b.png: [Errno 5] Input/output error" in told
    assert [name in told for name in ("a.png", "c.png")] == [True, True]
    assert len(run("images", "list", "--json")) == 2


@on_one_database
def test_names_of_mac_screenshots_are_found(run: Run, ratings: Callable[..., Any], tmp_path: Path) -> None:
    name = "Screenshot at 9.30.00\u202fPM Cafe\u0301.png"
    Image.new("RGB", (40, 30)).save(tmp_path / name)
    run("images", "add", str(tmp_path / name), *SHOP)
    assert ratings(f"user_id,image,rating\nben,{name},3\n")["accepted"] == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user_id,image,rating\nben,a.png,3,5\n", "line 2: 4 values under 3 columns: a decimal comma"),
        ("user_id,image,rating,rating\nben,a.png,3,4\n", "line 1: column 'rating' occurs twice"),
        ("user_id;image;rating\nben;a.png;3\n", "is the delimiter ';'"),
        ("User_ID,image,rating\nben,a.png,3\n", "column 'User_ID' must be written 'user_id'"),
        ("user_id,image,rating\nben,a.png,0_3\n", "line 2: column 'rating': '0_3' is not a number"),
        ("user_id,image,rating\nben,a.png,३\n", "is not a number"),
        ("user_id,image,rating\nben,a.png,\n", "line 2: no rating"),
        ("user_id,image,rating\n,a.png,3\n", "line 2: no user_id"),
        ("user_id,image,rating\nb/n,a.png,3\n", "line 2: external_id 'b/n'"),
        ("user_id,image,rating\nben,,3\n", "line 2: no image"),
        ("user_id,image,rating\nben,a.png,9\n", "line 2: rating 9.0 is outside its scale 1.0 to 5.0"),
        ("user_id,image,rating,occurred_at\nben,a.png,3,20261122\n", "line 2: '20261122' is not an ISO 8601 time"),
        ("user_id,image,rating\nben,b.png,3\n", "line 2: no image named 'b.png' in application 'shop'"),
    ],
)
@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)  # nothing reaches the database
def test_wrong_line_is_named_and_nothing_is_imported(
    database: Database, add: Callable[..., str], ratings: Callable[..., Any], text: str, message: str
) -> None:
    add("a.png")
    header, _, row = text.partition("\n")
    good = "".join(f"ann{n},a.png,3\n" for n in range(3)) if header == "user_id,image,rating" else ""
    told = ratings(f"{header}\n{row}{good}", exit_code=1)
    assert message in told
    assert "ratings.csv" in told
    assert num_users(database) == 0


@on_one_database
def test_many_right_lines_before_a_wrong_one_are_not_imported(
    database: Database, add: Callable[..., str], ratings: Callable[..., Any]
) -> None:
    add("a.png")
    lines = [f"u{n},a.png,3" for n in range(549)]
    told = ratings("\n".join(["user_id,image,rating", *lines, "u,a.png,bad", "u,a.png,", *lines[:1]]), exit_code=1)
    assert "2 bad row(s): line 551: column 'rating': 'bad' is not a number; line 552: no rating" in told
    assert num_users(database) == 0


@on_one_database
def test_other_spreadsheets_are_read_when_told_how(
    database: Database, add: Callable[..., str], ratings: Callable[..., Any]
) -> None:
    add("a.png")
    table = "\ufeffuser_id;image;rating;comment\r\nben ; a.png;3,5;nice, really\r\n"
    done = ratings(table, "--delimiter", ";", "--decimal-mark", ",")
    assert done == {"accepted": 1, "duplicates": 0, "ignored_columns": ["comment"]}
    assert log(database) == [3.5]
    assert ratings("user_id\timage\trating\ncarl\ta.png\t3.5\n", "--delimiter", "TAB")["accepted"] == 1


@on_one_database
def test_return_to_an_earlier_rating_counts(
    database: Database, add: Callable[..., str], ratings: Callable[..., Any]
) -> None:
    add("a.png")
    for rating, new in ((3, 1), (3, 0), (5, 1), (5, 0), (3, 1), (3, 0)):
        assert ratings(f"user_id,image,rating\nben,a.png,{rating}\n") == {"accepted": new, "duplicates": 1 - new}
    assert log(database) == [3, 5, 3]


def test_longer_file_adds_what_is_new_and_an_old_one_overrides_nothing(
    database: Database, settings: Settings, add: Callable[..., str], ratings: Callable[..., Any]
) -> None:
    from uuid import UUID

    image, other = add("a.png"), add("b.png", "blue")
    assert image != other
    old = "user_id,image,rating\nben,a.png,3\nben,b.png,2\nben,a.png,5\n"
    assert ratings(old)["accepted"] == 3
    assert ratings(old + "ben,a.png,3\n") == {"accepted": 1, "duplicates": 3}
    with database.session() as session:
        user = session.execute(sa.select(UserRow)).scalar_one()
        rated = {"ratings": {"beauty": 1}, "scale": {"min": 1, "max": 5}}
        event = intake.NewEvent(0, user.id, "by-hand", intake.FeedbackKind.RATING, rated, image_id=UUID(image))
        intake.append(session, "shop", [event], source="key", settings=settings)
    assert ratings(old + "ben,a.png,3\n") == {"accepted": 0, "duplicates": 4}, "the newer rating by the API stays"
    assert log(database) == [3, 2, 5, 3, 1]


def test_times_are_kept(database: Database, add: Callable[..., str], ratings: Callable[..., Any]) -> None:
    add("a.png")
    text = "user_id,image,rating,occurred_at\nben,a.png,3,2026-11-22T09:00:00+01:00\nben,a.png,4,\n"
    assert ratings(text)["accepted"] == 2
    assert ratings(text) == {"accepted": 0, "duplicates": 2}
    with database.read_session() as session:
        moments = session.execute(sa.select(FeedbackRow.occurred_at).order_by(FeedbackRow.sequence)).scalars().all()
    assert [moment and moment.isoformat() for moment in moments] == ["2026-11-22T08:00:00+00:00", None]


def test_import_that_is_cut_off_says_what_stayed_and_goes_on(
    database: Database, add: Callable[..., str], ratings: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    add("a.png")
    text = "user_id,image,rating\n" + "".join(f"u{n},a.png,3\nu{n},a.png,4\n" for n in range(5))
    monkeypatch.setattr(importing, "_TRANSACTION", 4)
    append, calls = intake.append, []

    def failing(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise Unavailable("the disk is full")
        return append(*arguments, **options)

    monkeypatch.setattr(intake, "append", failing)
    told = ratings(text, exit_code=1)
    assert "the disk is full; 4 ratings of other users are imported; importing the file again adds the rest" in told
    assert num_users(database) == 2
    assert ratings(text) == {"accepted": 6, "duplicates": 4}
    assert log(database, "u4") == [3, 4]


@on_one_database
def test_unknown_aspect_and_scale_are_refused_first(
    database: Database, run: Run, add: Callable[..., str], tmp_path: Path
) -> None:
    add("a.png")
    file = tmp_path / "r.csv"
    file.write_text("user_id,image,rating\nben,a.png,3\n")
    for scale in ("5,1", "1_0,20", "1", "a,b", "1,1"):
        command = ("feedback", "import", str(file), "--scale", scale, "--aspect", "beauty", *SHOP)
        assert "--scale must be MIN,MAX" in run(*command, exit_code=1)
    command = ("feedback", "import", str(file), "--scale", "1,5", "--aspect", " beauty", *SHOP)
    assert "begins or ends with a space" in run(*command, exit_code=1)
    with database.read_session() as session:
        assert session.execute(sa.select(ImageRow.name)).scalars().all() == ["a.png"]
