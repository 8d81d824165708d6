"""The SQLite file that keeps the jobs; several processes may have it open.

Each piece of work is one transaction on a connection of its own, so that threads need not share one.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Iterator

from edge_agent.errors import PackagingError

_FILE = "jobs.sqlite3"
_VERSION = 1
_BUSY_S = 20.0

_SCHEMA = (
    """CREATE TABLE job (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        project TEXT NOT NULL, name TEXT NOT NULL, model_version TEXT NOT NULL,
        configuration TEXT NOT NULL, description TEXT, settings TEXT NOT NULL,
        component TEXT NOT NULL, component_version TEXT NOT NULL,
        status TEXT NOT NULL, message TEXT NOT NULL,
        created REAL NOT NULL, updated REAL NOT NULL, attempts INTEGER NOT NULL, output TEXT,
        UNIQUE (project, name))""",
    # A failed job leaves its component version free for another try.
    "CREATE UNIQUE INDEX component ON job (component, component_version) WHERE status != 'FAILED'",
    "CREATE TABLE token (token TEXT PRIMARY KEY, digest TEXT NOT NULL, job INTEGER NOT NULL, created REAL NOT NULL)",
    f"PRAGMA user_version = {_VERSION}",
)


class Database:
    """Makes the file where there is none.

    Args:
        directory: made with rights for this user alone.

    Raises:
        PackagingError: it cannot be made, or holds what a newer version of ours wrote.
    """

    def __init__(self, directory: Path) -> None:
        self._file = directory / _FILE
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise PackagingError(
                str(directory), f"cannot be made ({error.strerror})", "Give another --state."
            ) from error
        with self.transaction() as connection:
            found = connection.execute("PRAGMA user_version").fetchone()[0]
            if found == 0:
                for statement in _SCHEMA:
                    connection.execute(statement)
            elif found != _VERSION:
                raise PackagingError(
                    str(self._file), f"is of form {found}, not {_VERSION}", "Use the edge-agent that wrote it."
                )

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One that writes: no other process writes meanwhile. Committed where the block ends well.

        Raises:
            PackagingError: the file cannot be read or written, or another process held it for too long.
        """
        try:
            connection = sqlite3.connect(str(self._file), timeout=_BUSY_S, isolation_level=None)
            try:
                connection.row_factory = sqlite3.Row
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
            finally:
                connection.close()  # what was not committed is rolled back
        except sqlite3.Error as error:
            raise PackagingError(
                str(self._file), f"cannot be used ({error})", "Mend it, or give another --state."
            ) from error
