"""The database file: its tables, its version, and how it is opened."""

import fcntl
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import grpc

from aos.local.taskhub.errors import HubError

SCHEMA_VERSION = 1
_APPLICATION_ID = 0x414F5348  # "AOSH"

# A file up to this size is checked whole at start; a larger one page by page as it is read.
_CHECKED_WHOLE_BYTES = 256 * 1024 * 1024


# A write-ahead log that grew beyond this in a burst is cut back once its content is in the database.
_LARGEST_WAL_BYTES = 16 * 1024 * 1024

# Pages in the write-ahead log before its content goes to the database: most are written there many times.
_CHECKPOINT_PAGES = 4000


@dataclass(frozen=True, eq=False)
class Table:
    """A table as the journal writes it: the first `keys` columns are its primary key.

    The columns that are `fixed` never change: to write them again would rewrite their indices too.
    """

    name: str
    columns: tuple[str, ...]
    keys: int = 1
    fixed: frozenset[str] = frozenset()

    @property
    def changing(self) -> list[str]:
        """The columns that a later row with the same key may have different."""
        return [name for name in self.columns[self.keys :] if name not in self.fixed]


INSTANCES = Table(
    "instances",
    (
        "no", "id", "execution", "name", "version", "status", "created", "updated", "completed", "start_at",
        "parent", "parent_task", "parent_execution", "custom_status", "output", "failure", "trace", "locks",
        "turns",
    ),
    fixed=frozenset(("id", "created", "parent", "parent_task")),
)  # fmt: skip
ORIGINS = Table("origins", ("no", "event"))
HISTORY = Table("history", ("no", "turn", "events"), keys=2)
INBOX = Table("inbox", ("seq", "target", "execution", "due", "kind", "sender", "event"))
ACTIVITIES = Table("activities", ("seq", "instance", "execution", "task", "name", "version", "request"))
ENTITIES = Table("entities", ("id", "state", "modified", "locked_by", "section"))
TABLES = (INSTANCES, ORIGINS, HISTORY, INBOX, ACTIVITIES, ENTITIES)

_DDL = """
CREATE TABLE instances (
    no INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, execution TEXT NOT NULL, name TEXT NOT NULL,
    version TEXT, status INTEGER NOT NULL, created INTEGER NOT NULL, updated INTEGER NOT NULL,
    completed INTEGER, start_at INTEGER, parent TEXT, parent_task INTEGER, parent_execution TEXT,
    custom_status TEXT, output TEXT, failure BLOB, trace BLOB, locks TEXT, turns INTEGER NOT NULL
);
CREATE INDEX instances_created ON instances (created, no);
CREATE INDEX instances_completed ON instances (completed, id) WHERE completed IS NOT NULL;
CREATE INDEX instances_parent ON instances (parent) WHERE parent IS NOT NULL;
CREATE TABLE origins (no INTEGER PRIMARY KEY, event BLOB NOT NULL);
CREATE TABLE history (no INTEGER, turn INTEGER, events BLOB NOT NULL, PRIMARY KEY (no, turn)) WITHOUT ROWID;
CREATE TABLE inbox (
    seq INTEGER PRIMARY KEY, target TEXT NOT NULL, execution TEXT, due INTEGER NOT NULL, kind TEXT NOT NULL,
    sender TEXT, event BLOB NOT NULL
);
CREATE TABLE activities (
    seq INTEGER PRIMARY KEY, instance TEXT NOT NULL, execution TEXT NOT NULL, task INTEGER NOT NULL,
    name TEXT NOT NULL, version TEXT NOT NULL, request BLOB NOT NULL
);
CREATE TABLE entities (
    id TEXT PRIMARY KEY, state TEXT, modified INTEGER NOT NULL, locked_by TEXT, section TEXT
);
CREATE INDEX entities_locked ON entities (locked_by) WHERE locked_by IS NOT NULL;
"""


def unusable(path: Path, why: str) -> HubError:
    """The database cannot be used, and why."""
    return HubError(grpc.StatusCode.FAILED_PRECONDITION, f"task hub database {path}: {why}")


def lock(path: Path) -> IO[str]:
    """Hold the database for this process; the lock goes when the file is closed or the process dies."""
    if not path.parent.is_dir():
        raise unusable(path, f"the folder {path.parent} does not exist")
    try:
        holder = path.with_name(path.name + ".lock").open("w")
    except OSError as error:
        raise unusable(path, error.strerror or str(error)) from error
    try:
        fcntl.flock(holder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder.close()
        raise unusable(path, "another process is using it") from error
    return holder


def connect(path: Path) -> sqlite3.Connection:
    """A connection in autocommit mode; transactions are begun by hand."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA cache_size=-8192")
    connection.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit={_LARGEST_WAL_BYTES}")
    return connection


def prepare(path: Path) -> None:
    """Create the database, or check that it is one this version can use."""
    try:
        connection = connect(path)
        try:
            _prepare(connection, path)
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise unusable(path, str(error)) from error


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if not tables:
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript(
            f"BEGIN; {_DDL} PRAGMA application_id={_APPLICATION_ID};"
            f"PRAGMA user_version={SCHEMA_VERSION}; COMMIT;"
        )
        return
    if application != _APPLICATION_ID:
        raise unusable(path, "this is not a task hub")
    if version > SCHEMA_VERSION:
        raise unusable(
            path, f"written by a newer version (format {version}, this one reads {SCHEMA_VERSION})"
        )
    if path.stat().st_size <= _CHECKED_WHOLE_BYTES:
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise unusable(path, f"corrupt: {' '.join(verdict.split())}")
