"""Files of all kinds given to `paaplus feedback import`: imported whole, or refused with nothing changed."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from paaplus.cli.feedback import import_ratings
from paaplus.db.engine import Database
from paaplus.db.tables import FeedbackRow, UserRow
from paaplus.errors import InvalidInput
from paaplus.settings import Settings, get_settings
from tests.paaplus.data.test_folder_fuzz import TABLES
from tests.support.factories import make_image
from tests.support.hostile import nearly

GOOD = b"user_id,image,rating\nada,a.jpg,3\nada,b.jpg,4.5\nbob,a.jpg,1\n"


def counts(database: Database) -> tuple[int, int]:
    with database.read_session() as session:
        users, events = (sa.select(sa.func.count()).select_from(table) for table in (UserRow, FeedbackRow))
        return session.execute(users).scalar_one(), session.execute(events).scalar_one()


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)  # of what is read, nothing depends on it
@pytest.mark.slow
def test_any_file_is_imported_whole_or_changes_nothing(
    database: Database, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAAPLUS_HOME", str(settings.home))
    monkeypatch.setenv("PAAPLUS_DATABASE_URL", settings.database_url)
    get_settings.cache_clear()
    with database.session() as session:
        for name in ("a.jpg", "b.jpg"):
            make_image(session, name=name)
    file = tmp_path / "ratings.csv"
    refusals: list[str] = []

    @hypothesis_settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.one_of(nearly(GOOD), nearly(GOOD), TABLES, st.binary(max_size=30)))
    @example(b"user_id,image,rating\nada,a.jpg,3\0\n")
    @example(b"user_id,image,rating\nada,a.jpg,\xff\n")
    @example(b'user_id,image,rating\n"' + b"x" * 200_000 + b'",a.jpg,3\n')
    @example(b"\xef\xbb\xbfuser_id,image,rating\nada,a.jpg,3\n")
    @example(b"user_id,image,rating\nada,a.jpg,nan\n")
    @example(b"user_id,image,rating,rating\nada,a.jpg,3,4\n")
    @example(b"user_id,image,rating\nada,a.jpg,3\nada,a.jpg,99\n")
    @example(b"user_id,image,rating\nada\x00b,a.jpg,3\n")
    @example(b"user_id,image,rating\n" + "\ud800".encode("utf-8", "surrogatepass") + b",a.jpg,3\n")
    def check(data: bytes) -> None:
        file.write_bytes(data)
        before = counts(database)
        try:
            import_ratings(file, scale="1,5", aspect="beauty", application="test-app", as_json=True)
        except InvalidInput as error:
            refusals.append(str(error))
            unchanged = counts(database) == before
        else:
            unchanged = True
        assert unchanged

    check()
    assert refusals
    assert all(str(file) in refusal for refusal in refusals), "which file it was"
    file.write_bytes(GOOD)
    import_ratings(file, scale="1,5", aspect="beauty", application="test-app", as_json=True)
    before = counts(database)
    import_ratings(file, scale="1,5", aspect="beauty", application="test-app", as_json=True)
    assert counts(database) == before
