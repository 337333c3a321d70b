"""Fails when the tables in `paaplus.db` and what the migrations make of a fresh database differ. For `make check`."""

import sys
import tempfile

from paaplus.db import migrate
from paaplus.errors import Conflict
from tests.support import servers


def differences(url: str) -> str | None:
    migrate.upgrade(url)
    try:
        migrate.check(url)
    except Conflict as error:
        return str(error)
    return None


def main() -> int:
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        found["SQLite"] = differences(f"sqlite:///{folder}/paaplus.db")
    server = servers.postgres()
    try:
        server.start()
        with servers.new_postgres_database(server.url) as url:
            found["PostgreSQL"] = differences(url)
    finally:
        server.close()
    for database, difference in found.items():
        print(f"migrations on {database}: {difference or 'as the tables expect'}")
    return 1 if any(found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
