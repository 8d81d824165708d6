"""The jobs, kept over crashes and shared by processes."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional

from edge_agent.clock import Clock, SystemClock
from edge_agent.errors import ConflictError, ServiceQuotaExceededError
from edge_agent.packaging.jobs.database import Database
from edge_agent.packaging.jobs.job import CREATED, FAILED, MODEL_PACKAGE_JOB, RUNNING, SUCCEEDED, Job, Settings

#: How long a ClientToken is remembered, as the service did.
TOKEN_SECONDS = 8 * 3600
#: Jobs that may be CREATED or RUNNING at a time.
MAX_UNFINISHED = 100
#: A job whose process died, with the process that watched it, is taken up again until it was begun so often.
MAX_ATTEMPTS = 3

_NS_PER_S = 1e9
_OPEN = "status IN ('CREATED', 'RUNNING')"
_AGAIN = "The process that ran it died; it is taken up again by the next `packaging start` or `packaging serve`."


class NewJob(NamedTuple):
    """What `add` makes a job of. `token` comes with the `digest` of the request that it stands for."""

    project: str
    name: str
    model_version: str
    configuration: Dict[str, Any]
    description: Optional[str]
    settings: Settings
    token: Optional[str]
    digest: str


class JobStore:
    """Every change of a job is a transaction.

    Args:
        directory: where the state lies; made where there is none.
        clock: its wall time ages tokens and stamps jobs.

    Raises:
        PackagingError: from each method, too, where the state cannot be read or written.
    """

    def __init__(self, directory: Path, clock: Optional[Clock] = None) -> None:
        self._database = Database(directory)
        self._clock = clock or SystemClock()

    def _now(self) -> float:
        return self._clock.wall_ns() / _NS_PER_S

    def find_token(self, token: str, digest: str) -> Optional[Job]:
        """The job that this token started in the last eight hours, if it did.

        Raises:
            ConflictError: it stands for another request.
        """
        with self._database.transaction() as connection:
            return self._find_token(connection, token, digest)

    def add(self, new: NewJob) -> Job:
        """A job, CREATED; or the one that the same token and request started.

        Raises:
            ConflictError: token, name, or component version in use.
            ServiceQuotaExceededError: too many unfinished jobs.
        """
        greengrass = new.configuration["Greengrass"]
        component = (greengrass["ComponentName"], greengrass["ComponentVersion"])
        with self._database.transaction() as connection:
            known = self._find_token(connection, new.token, new.digest) if new.token else None
            if known is not None:
                return known
            _refuse_twins(connection, new, component)
            unfinished = connection.execute(f"SELECT count(*) FROM job WHERE {_OPEN}").fetchone()[0]  # noqa: S608
            if unfinished >= MAX_UNFINISHED:
                raise ServiceQuotaExceededError(
                    "StartModelPackagingJob",
                    f"{unfinished} jobs are not finished; at most {MAX_UNFINISHED} may be",
                    "Wait for them.",
                    resource=(MODEL_PACKAGE_JOB, new.name),
                )
            now = self._now()
            cursor = connection.execute(
                "INSERT INTO job (project, name, model_version, configuration, description, settings, component,"
                " component_version, status, message, created, updated, attempts)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, '', ?, ?, 0)",
                (
                    new.project,
                    new.name,
                    new.model_version,
                    json.dumps(new.configuration),
                    new.description,
                    json.dumps(new.settings._asdict()),
                    *component,
                    CREATED,
                    now,
                    now,
                ),
            )
            if new.token:
                connection.execute(
                    "INSERT INTO token VALUES (?, ?, ?, ?)", (new.token, new.digest, cursor.lastrowid, now)
                )
            return _job(connection.execute("SELECT * FROM job WHERE number = ?", (cursor.lastrowid,)).fetchone())

    def get(self, number: int) -> Job:
        with self._database.transaction() as connection:
            return _job(connection.execute("SELECT * FROM job WHERE number = ?", (number,)).fetchone())

    def find(self, project: str, name: str) -> Optional[Job]:
        with self._database.transaction() as connection:
            row = connection.execute("SELECT * FROM job WHERE project = ? AND name = ?", (project, name)).fetchone()
            return None if row is None else _job(row)

    def page(self, project: str, before: Optional[int], limit: int) -> List[Job]:
        """Jobs of a project, the newest first; those older than number `before` where it is given."""
        with self._database.transaction() as connection:
            rows = connection.execute(
                "SELECT * FROM job WHERE project = ? AND (? IS NULL OR number < ?) ORDER BY number DESC LIMIT ?",
                (project, before, before, limit),
            ).fetchall()
            return [_job(row) for row in rows]

    def unfinished(self, status: str) -> List[Job]:
        """Jobs of a status, the oldest first."""
        with self._database.transaction() as connection:
            return [
                _job(row)
                for row in connection.execute(
                    "SELECT * FROM job WHERE status = ? ORDER BY number", (status,)
                ).fetchall()
            ]

    def begin(self, number: int) -> bool:
        """CREATED to RUNNING; false where another process was quicker. The caller holds the job's lock."""
        with self._database.transaction() as connection:
            cursor = connection.execute(
                "UPDATE job SET status = ?, message = '', updated = ?, attempts = attempts + 1"
                " WHERE number = ? AND status = ?",
                (RUNNING, self._now(), number, CREATED),
            )
            return cursor.rowcount == 1

    def succeed(self, number: int, message: str, output: Dict[str, Any]) -> None:
        self._end(number, SUCCEEDED, message, json.dumps(output))

    def fail(self, number: int, message: str) -> None:
        """RUNNING to FAILED; nothing where it is over already."""
        self._end(number, FAILED, message, None)

    def release(self, number: int, message: str) -> None:
        """RUNNING back to CREATED, as if it had not been begun."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE job SET status = ?, message = ?, updated = ?, attempts = attempts - 1"
                " WHERE number = ? AND status = ?",
                (CREATED, message, self._now(), number, RUNNING),
            )

    def give_up(self, number: int) -> None:
        """What becomes of a job that is RUNNING though its process is dead. The caller holds the job's lock."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE job SET updated = ?, status = CASE WHEN attempts < ? THEN ? ELSE ? END,"
                " message = CASE WHEN attempts < ? THEN ? ELSE ? END WHERE number = ? AND status = ?",
                (
                    self._now(),
                    *(MAX_ATTEMPTS, CREATED, FAILED),
                    *(
                        MAX_ATTEMPTS,
                        _AGAIN,
                        f"The process that ran it died {MAX_ATTEMPTS} times; it is not tried again.",
                    ),
                    number,
                    RUNNING,
                ),
            )

    def _end(self, number: int, status: str, message: str, output: Optional[str]) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE job SET status = ?, message = ?, output = ?, updated = ? WHERE number = ? AND status = ?",
                (status, message, output, self._now(), number, RUNNING),
            )

    def _find_token(self, connection: sqlite3.Connection, token: str, digest: str) -> Optional[Job]:
        connection.execute("DELETE FROM token WHERE created <= ?", (self._now() - TOKEN_SECONDS,))
        row = connection.execute("SELECT * FROM token WHERE token = ?", (token,)).fetchone()
        if row is None:
            return None
        job = _job(connection.execute("SELECT * FROM job WHERE number = ?", (row["job"],)).fetchone())
        if row["digest"] != digest:
            raise ConflictError(
                f"ClientToken {token}",
                f"was used for another request in the last {TOKEN_SECONDS // 3600} hours, which started job {job.name}",
                "Use a new one for a new request.",
                resource=(MODEL_PACKAGE_JOB, job.name),
            )
        return job


def _refuse_twins(connection: sqlite3.Connection, new: NewJob, component: "tuple[str, str]") -> None:
    row = connection.execute("SELECT name FROM job WHERE project = ? AND name = ?", (new.project, new.name)).fetchone()
    if row is not None:
        raise ConflictError(
            f"JobName {new.name}",
            f"is a job of project {new.project} already",
            "Choose another name.",
            resource=(MODEL_PACKAGE_JOB, new.name),
        )
    row = connection.execute(
        "SELECT name FROM job WHERE component = ? AND component_version = ? AND status != ?", (*component, FAILED)
    ).fetchone()
    if row is not None:
        raise ConflictError(
            f"ComponentVersion {component[1]}",
            f"of component {component[0]} was made by job {row['name']}",
            "A version cannot be made twice: choose another.",
            resource=(MODEL_PACKAGE_JOB, row["name"]),
        )


def _job(row: sqlite3.Row) -> Job:
    return Job(
        row["number"],
        row["project"],
        row["name"],
        row["model_version"],
        json.loads(row["configuration"]),
        row["description"],
        Settings(**json.loads(row["settings"])),
        row["status"],
        row["message"],
        row["created"],
        row["updated"],
        row["attempts"],
        None if row["output"] is None else json.loads(row["output"]),
    )
