"""Rate, train, rank: a person's order is learned through the queue and the gate, and written in every form."""

from __future__ import annotations

import csv
import json
import os
import pty
import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
import typer

from paaplus import extras
from paaplus.cli.main import app
from paaplus.db.tables import FeedbackRow, JobRow
from paaplus.db.tables.jobs import JobKind, JobState
from paaplus.errors import Damaged, InvalidInput, Unavailable
from paaplus.photos import contact_sheet, outcome, ranking, rating
from paaplus.photos.bursts import Seen, best_of_bursts, find_bursts, look_of
from paaplus.photos.folder import find_photographs
from paaplus.photos.importing import Imported, import_files
from paaplus.photos.platform import LocalPlatform
from paaplus.photos.rating import RatingSession
from paaplus.photos.stars import star_thresholds
from paaplus.services.adapters import rollbacks
from paaplus.services.registry import starter
from tests.paaplus.photos.conftest import NUM_PHOTOS, tiny_starter
from tests.support.photographs import encoded, picture

Opener = Callable[[], AbstractContextManager[LocalPlatform]]
CORPUS = Path(__file__).parents[2] / "fixtures" / "xmp"


def bring_in(platform: LocalPlatform, folder: Path) -> Imported:
    imported = import_files(platform, find_photographs(folder), lambda _done, _total: None)
    platform.extract(imported.image_ids, lambda _done, _total: None)
    return imported


def redness(file: Path) -> float:
    from PIL import Image

    with Image.open(file) as image:
        red, green, blue = np.asarray(image, float).mean((0, 1))
    return float(red - (green + blue) / 2)


def rate_by_redness(session: RatingSession, num: int, folder: Path) -> None:
    cuts = np.quantile([redness(file.path) for file in find_photographs(folder)], [0.2, 0.4, 0.6, 0.8])
    for _ in range(num):
        question = session.next_question()
        assert question is not None
        session.rate(question, 1 + int((cuts < redness(question.files[0])).sum()))


def test_what_was_rated_trains_through_the_queue_and_the_next_ranking_is_personal(
    platform: LocalPlatform, folder: Path, tmp_path: Path
) -> None:
    imported = bring_in(platform, folder)
    before = ranking.rank_folder(platform, imported)
    assert before.source == "base"
    assert [photo.rank for photo in before.photos] == [photo.generic_rank for photo in before.photos]
    contact_sheet.write_contact_sheet(platform, before, "Trip", "me", tmp_path / "before.html")
    page = (tmp_path / "before.html").read_text()
    assert "Trip, in everybody's order" in page.replace("&#x27;", "'")
    assert page.count('role="img"') == NUM_PHOTOS, "one order only: there is no other yet"
    session = RatingSession.of(platform, imported)
    rate_by_redness(session, 28, folder)
    platform.train("a test")
    decision = outcome.last_decision(platform)
    assert decision.version == 1, decision.told
    assert decision.told == "your order, version 1: learned from your answers"
    assert decision.gate is not None
    assert decision.gate.startswith("Promoted.")
    with platform.database.read_session() as database_session:
        jobs = database_session.execute(sa.select(JobRow).where(JobRow.kind == JobKind.ADAPT)).scalars().all()
        assert [job.state for job in jobs] == [JobState.SUCCEEDED]
    after = ranking.rank_folder(platform, imported)
    assert (after.source, after.version) == ("adapter", 1)
    unrated = [photo for photo in after.photos if photo.rated is None]
    assert len(unrated) == NUM_PHOTOS - 28
    agreement = np.corrcoef([photo.score for photo in unrated], [redness(photo.path) for photo in unrated])[0, 1]
    generic = np.corrcoef([photo.generic_score for photo in unrated], [redness(photo.path) for photo in unrated])[0, 1]
    assert agreement > max(0.5, generic + 0.5), "the photographs that nobody rated come in the person's order"
    given = np.bincount([photo.rated for photo in after.photos if photo.rated is not None], minlength=6)
    told = np.bincount([photo.stars for photo in after.photos if photo.rated is not None], minlength=6)
    assert np.abs(given - told).max() <= 2, "as many of each as the person gives"

    sheet = tmp_path / "sheet.html"
    contact_sheet.write_contact_sheet(platform, after, "Trip <1>", "me", sheet)
    page = sheet.read_text()
    assert page.count("data:image/webp;base64,") == NUM_PHOTOS
    assert page.count('role="img"') == 2 * NUM_PHOTOS
    assert "Trip &lt;1&gt;, in my order" in page
    assert "learned from 28 ratings in this folder" in page
    assert "http" not in page
    ranking.write_csv(after, tmp_path / "all.csv")
    with (tmp_path / "all.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["image"] for row in rows] == [photo.name for photo in after.photos]
    assert ranking.copy_best(after, 3, tmp_path / "best") == 3
    assert sorted(file.name for file in (tmp_path / "best").iterdir()) == [
        f"{photo.rank:03d}_{photo.path.name}" for photo in after.photos[:3]
    ]
    with pytest.raises(InvalidInput, match="not empty"):
        ranking.copy_best(after, 3, tmp_path / "best")


def test_undo_takes_back_skip_asks_no_more_and_pairs_are_comparisons(platform: LocalPlatform, folder: Path) -> None:
    session = RatingSession.of(platform, bring_in(platform, folder))
    first = session.next_question()
    assert first is not None
    session.rate(first, 4)
    assert session.num_given == 1
    assert session.undo() == first
    assert session.next_question() == first
    assert session.undo() is None
    session.skip(first)
    pair = session.next_question(pair=True)
    assert pair is not None
    assert first.images[0] not in pair.images
    session.prefer(pair, "second")
    with platform.database.read_session() as database_session:
        kinds = database_session.execute(sa.select(FeedbackRow.kind).order_by(FeedbackRow.sequence)).scalars().all()
    assert kinds == ["rating", "retraction", "comparison"]
    seen = {first.images[0], *pair.images}
    while (question := session.next_question()) is not None:
        assert not seen & set(question.images)
        seen.update(question.images)
        session.rate(question, 3)
    assert len(seen) == NUM_PHOTOS
    assert 1 <= session.prediction(first.images[0]) <= 5


def test_what_was_taken_back_is_asked_again_also_in_the_next_session(platform: LocalPlatform, folder: Path) -> None:
    imported = bring_in(platform, folder)
    session = RatingSession.of(platform, imported)
    first = session.next_question()
    assert first is not None
    session.rate(first, 4)
    assert rating.num_answers(platform) == 1
    session.undo()
    assert rating.num_answers(platform) == 0
    for _ in range(6):  # of eight questions that are chosen at once, two are left
        question = session.next_question()
        assert question is not None
        session.rate(question, 3)
    rated = set(rating.rated_images(platform))
    pair = session.next_question(pair=True)
    assert pair is not None
    session.prefer(pair, "first")
    session.undo()
    one = session.next_question()
    assert one is not None
    session.rate(one, 3)
    rated.add(one.images[0])
    later = [session.next_question(pair=True)]
    while later[-1] is not None:
        session.prefer(later[-1], "tie")
        later.append(session.next_question(pair=True))
    asked = {image for question in later if question is not None for image in question.images}
    assert set(pair.images) - set(one.images) <= asked

    again = RatingSession.of(platform, imported)
    asked = set()
    while (question := again.next_question()) is not None:
        asked.add(question.images[0])
        again.rate(question, 3)
    assert asked == set(imported.image_ids) - rated


def test_stars_of_other_programs_are_taken_once_and_again_when_they_change(
    platform: LocalPlatform, folder: Path
) -> None:
    pytest.importorskip("pyexiv2", reason="needs the extra: pip install 'paaplus[photos]'")
    imported = bring_in(platform, folder)
    shutil.copyfile(CORPUS / "lightroom.xmp", folder / "00.xmp")
    shutil.copyfile(CORPUS / "darktable.xmp", folder / "02.jpg.xmp")
    (folder / "04.xmp").write_text("broken")

    def take() -> rating.StarsImport:
        return rating.import_stars(platform, imported, lambda _done, _total: None)

    first = take()
    assert (first.num_found, first.num_accepted) == (2, 2)
    assert [name for name, _ in first.refused] == ["04.jpg"]
    assert take().num_accepted == 0
    changed = (
        (folder / "00.xmp")
        .read_text()
        .replace('xmp:Rating="4"', 'xmp:Rating="2"')
        .replace("2024-05-01T10", "2024-06-01T10")
    )
    (folder / "00.xmp").write_text(changed)
    assert take().num_accepted == 1
    of_file = {known.image_id: file.name for file, known in imported.known}
    with platform.database.read_session() as session:
        rows = session.execute(sa.select(FeedbackRow).order_by(FeedbackRow.sequence)).scalars().all()
    told = [(of_file[row.image_id], row.payload["ratings"]["beauty"]) for row in rows]
    assert sorted(told) == [("00.jpg", 2), ("00.jpg", 4), ("02.jpg", 1)]
    assert rows[-1].occurred_at == datetime.fromisoformat("2024-06-01T10:11:12+02:00")
    written = ranking.write_xmp(
        ranking.rank_folder(platform, imported), "me", in_place=False, on_progress=lambda *_: None
    )
    assert [name for name, _ in written.refused] == ["04.jpg"]
    assert take().num_accepted == 0, "what paaplus wrote is not learned from"


def test_bursts_are_the_same_second_and_the_same_look() -> None:
    moment = datetime(2024, 5, 1, 10, 11, 12)
    cat, cup = look_of(picture(1)), look_of(picture(2))
    crop = look_of(picture(1).crop((6, 4, 250, 166)))
    seen = [
        Seen(moment, cat, 5.0),
        Seen(moment.replace(microsecond=400_000), crop, 7.0),
        Seen(moment, cup, 9.0),
        Seen(moment.replace(minute=30), cat, 8.0),
        Seen(None, look_of(picture(1, 128)), 6.0),
        Seen(None, "0" * 16, 1.0),
        Seen(None, "0" * 16, 1.0),
    ]
    bursts = find_bursts(seen)
    assert bursts[0] == bursts[1]
    assert bursts[0] is not None
    assert bursts[2] is bursts[5] is bursts[6] is None, "another look, and pictures without contrast"
    assert sum(best_of_bursts(seen, bursts)) == len({burst for burst in bursts if burst is not None})
    assert not best_of_bursts(seen, bursts)[0]


def test_stars_follow_the_shares_that_a_person_gives_and_the_usual_ones_before() -> None:
    scores = np.linspace(0, 10, 101)
    usual = star_thresholds(scores, [], [])
    assert not usual.is_personal
    assert np.bincount([usual.stars(score) for score in scores]).tolist() == pytest.approx(
        [0, 10, 20, 40, 20, 11], abs=1
    )
    strict = star_thresholds(scores, scores[:40] / 2 + 4, [1] * 30 + [2] * 8 + [5] * 2)
    assert strict.is_personal
    assert strict.stars(4.5) == 1
    assert strict.stars(6.0) == 5


def command(arguments: list[str]) -> None:
    typer.main.get_command(app)(arguments, standalone_mode=False)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A pseudo terminal in the place of standard input; what is written into it are keys."""
    keyboard, screen = pty.openpty()
    with os.fdopen(screen, "r") as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        yield keyboard
    os.close(keyboard)


def test_after_a_rollback_it_is_said_that_somebody_chose(platform: LocalPlatform, folder: Path) -> None:
    session = RatingSession.of(platform, bring_in(platform, folder))
    rate_by_redness(session, 28, folder)
    platform.train("a test")
    with platform.database.session() as database_session:
        rollbacks.rollback(database_session, platform.user_id, to="base", actor="a test", reason="a test")
    decision = outcome.last_decision(platform)
    assert decision.told == "everybody's order: a rollback or a person has chosen it since the last training"


def test_why_everybodys_order_is_still_shown_is_told_in_plain_words(platform: LocalPlatform, folder: Path) -> None:
    assert outcome.last_decision(platform).told == "everybody's order: nothing was trained yet"
    session = RatingSession.of(platform, bring_in(platform, folder))
    for _ in range(12):
        question = session.next_question()
        assert question is not None
        session.rate(question, 3)
    platform.train("a test")
    decision = outcome.last_decision(platform)
    assert decision.told == (
        "everybody's order: your answers do not point one way clearly enough yet; more answers help"
    )
    assert decision.gate is not None
    assert decision.gate.startswith("Refused. Order: all ")


def test_the_command_asks_by_keys_and_trains(
    open_here: Opener,
    folder: Path,
    terminal: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("PAAPLUS_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(starter, "ensure", tiny_starter)
    os.write(terminal, b"3u4" + b"12345" * 5 + b"p1su9?q")
    command(["rate", str(folder), "--json"])
    printed = capsys.readouterr()
    told = json.loads(printed.out)
    assert told["answers"] == 26
    assert told["photographs_rated"] == 26
    assert "expected were" in printed.err
    assert told["result"]


def test_the_command_ranks_and_prints_json(
    open_here: Opener, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PAAPLUS_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(starter, "ensure", tiny_starter)
    (folder / "bad.jpg").write_bytes(b"hello")
    command(["rank", str(folder), "--json", "--csv", str(tmp_path / "all.csv"), "--copy-to", str(folder / "best")])
    told = json.loads(capsys.readouterr().out)
    assert len(told["photos"]) == NUM_PHOTOS
    assert told["new_files"] == NUM_PHOTOS + 1
    assert [each["image"] for each in told["refused"]] == ["bad.jpg"]
    assert told["copied"] == 20
    assert Path(told["contact_sheet"]).is_file()
    with pytest.raises(InvalidInput, match="give both"):
        command(["rank", str(folder), "--in-place"])


def test_names_of_files_need_not_be_utf8_and_are_no_formulas(
    open_here: Opener, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Archives of old programs have names in Latin-1: one of them stopped the whole folder at the end of the work."""
    monkeypatch.setenv("PAAPLUS_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(starter, "ensure", tiny_starter)
    one, two, *_ = sorted(folder.iterdir())
    odd = one.rename(folder / os.fsdecode(b"caf\xe9.png"))
    two.rename(folder / "=1+1.png")
    if "\udce9" not in odd.name:
        pytest.skip("names of files are of another encoding here")
    folder = folder.rename(folder.with_name(os.fsdecode(b"\xe9t\xe9")))
    command(["rank", str(folder), "--json", "--csv", str(tmp_path / "all.csv"), "--sheet", str(tmp_path / "a.html")])
    told = json.loads(capsys.readouterr().out)
    assert "caf\\udce9.png" in [each["image"] for each in told["photos"]]
    assert len(told["photos"]) == NUM_PHOTOS
    assert "caf\\udce9.png" in (tmp_path / "a.html").read_text("utf-8")
    rows = list(csv.DictReader((tmp_path / "all.csv").read_text("utf-8").splitlines()))
    assert {"caf\\udce9.png", "'=1+1.png"} <= {row["image"] for row in rows}


def test_what_would_fail_at_the_end_is_refused_before_a_file_is_read(
    open_here: Opener, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PAAPLUS_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(starter, "ensure", tiny_starter)
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "old.jpg").write_bytes(b"")
    with pytest.raises(InvalidInput, match="not empty"):
        command(["rank", str(folder), "--copy-to", str(tmp_path / "best")])
    with pytest.raises(InvalidInput, match="there is no folder"):
        command(["rank", str(folder), "--csv", str(tmp_path / "none" / "all.csv")])
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    for arguments in (["rank", str(folder), "--xmp"], ["rate", str(folder), "--from-xmp"]):
        with pytest.raises(Unavailable, match=r"paaplus\[photos\]"):
            command(arguments)
    assert not (tmp_path / "home" / "photos").exists(), "nothing was imported"


@pytest.mark.parametrize(("user", "whose"), [("me", []), ("anna", ["--user", "anna"])])
def test_the_next_command_is_told_as_it_is_to_be_pasted(
    user: str,
    whose: list[str],
    open_here: Opener,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("PAAPLUS_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(starter, "ensure", tiny_starter)
    spaced = folder.rename(folder.with_name("a trip"))
    command(["rank", str(spaced), *whose])
    assert shlex.join(["paaplus", "rate", str(spaced), *whose]) in capsys.readouterr().out.splitlines()[-2]
    keys, end = os.pipe()
    os.write(end, b"31q")
    os.close(end)
    with os.fdopen(keys) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        command(["rate", str(spaced), *whose])
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1].endswith(shlex.join(["paaplus", "rank", str(spaced), *whose]))
    assert "at least 5 rated photographs" in " ".join(printed.out.split())
    assert "1 star; expected were" in printed.err


def test_copies_are_rated_once_and_the_original_is_the_best_of_them(
    platform: LocalPlatform, folder: Path, tmp_path: Path
) -> None:
    shutil.copyfile(folder / "00.jpg", folder / "00 copy.jpg")
    imported = bring_in(platform, folder)
    session = RatingSession.of(platform, imported)
    rate_by_redness(session, NUM_PHOTOS, folder)
    platform.train("a test")
    ranked = ranking.rank_folder(platform, imported)
    assert [photo.name for photo in ranked.photos if photo.name.startswith("00")] == ["00.jpg", "00 copy.jpg"]
    contact_sheet.write_contact_sheet(platform, ranked, "Trip", "me", tmp_path / "sheet.html")
    assert f"learned from {NUM_PHOTOS} ratings" in (tmp_path / "sheet.html").read_text()


def test_a_picture_that_was_lost_does_not_stop_the_sheet(
    platform: LocalPlatform, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranked = ranking.rank_folder(platform, bring_in(platform, folder))
    get = platform.blobs.get
    lost: list[str] = []

    def get_all_but_one(sha256: str) -> bytes:
        lost.extend([sha256] if not lost else [])
        if sha256 in lost:
            raise Damaged("its bytes have changed")
        return get(sha256)

    monkeypatch.setattr(platform.blobs, "get", get_all_but_one)
    contact_sheet.write_contact_sheet(platform, ranked, "Trip", "me", tmp_path / "sheet.html")
    page = (tmp_path / "sheet.html").read_text()
    assert len(lost) == 1
    assert page.count('class="photo p') == NUM_PHOTOS - 1
    assert page.count('class="photo"') == 1


def test_a_duplicate_file_is_ranked_beside_its_original(platform: LocalPlatform, folder: Path) -> None:
    shutil.copyfile(folder / "00.jpg", folder / "copy.jpg")
    (folder / "other.png").write_bytes(encoded(picture(1), "PNG"))
    ranked = ranking.rank_folder(platform, bring_in(platform, folder))
    by_name = {photo.name: photo for photo in ranked.photos}
    assert by_name["00.jpg"].image_id == by_name["copy.jpg"].image_id
    assert by_name["00.jpg"].score == by_name["copy.jpg"].score
    assert sorted(photo.rank for photo in ranked.photos) == list(range(1, NUM_PHOTOS + 3))
