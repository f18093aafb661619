"""What came in, what is to be done and what became of it: one SQLite file in WAL mode, on a local disk.

A study is collected (``studies``, ``images``); each perfusion series of it becomes a case (``cases``), whose results go
to each destination (``deliveries``). No file is moved before its row is committed.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ctp_torch.archive.journal import digest

__all__ = ["OPEN", "Queue", "Row"]

Row = Mapping[str, Any]
OPEN = ("complete", "running", "stored")
"""States of a case that is on its way; done, parked and replaced are the ends."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS images(
  sop TEXT NOT NULL, study TEXT NOT NULL, series TEXT NOT NULL, part TEXT NOT NULL, file TEXT NOT NULL,
  bytes INTEGER NOT NULL, frames INTEGER NOT NULL, received REAL NOT NULL, PRIMARY KEY(study, sop));
CREATE INDEX IF NOT EXISTS images_by_name ON images(sop);
CREATE TABLE IF NOT EXISTS studies(
  study TEXT PRIMARY KEY, name TEXT NOT NULL, state TEXT NOT NULL, first REAL NOT NULL, last REAL NOT NULL,
  look REAL, message TEXT NOT NULL DEFAULT '', refused INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS cases(
  id INTEGER PRIMARY KEY, study TEXT NOT NULL, series TEXT NOT NULL, images TEXT NOT NULL, settings TEXT NOT NULL,
  n_images INTEGER NOT NULL, files TEXT NOT NULL, state TEXT NOT NULL, priority INTEGER NOT NULL DEFAULT 0,
  attempts INTEGER NOT NULL DEFAULT 0, due REAL NOT NULL DEFAULT 0, message TEXT NOT NULL DEFAULT '',
  replaces INTEGER, failure INTEGER NOT NULL DEFAULT 0, last REAL NOT NULL, made REAL NOT NULL, started REAL,
  stored REAL, done REAL, seconds REAL, UNIQUE(study, series, images, settings));
CREATE INDEX IF NOT EXISTS cases_by_state ON cases(state);
CREATE TABLE IF NOT EXISTS deliveries(
  number INTEGER NOT NULL, destination TEXT NOT NULL, what TEXT NOT NULL, state TEXT NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0, due REAL NOT NULL DEFAULT 0, message TEXT NOT NULL DEFAULT '', sent REAL,
  PRIMARY KEY(number, destination, what));
CREATE TABLE IF NOT EXISTS results(sop TEXT PRIMARY KEY, number INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS committed(sop TEXT NOT NULL, destination TEXT NOT NULL, PRIMARY KEY(sop, destination));
CREATE TABLE IF NOT EXISTS marks(name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS counts(name TEXT PRIMARY KEY, value INTEGER NOT NULL);
"""


class Queue:
    """The rows of a node; may be opened by several processes, and used by several threads of each.

    Parameters
    ----------
    folder
        of the node; made if it isn't there, for this user alone
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = folder / "queue.sqlite"
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self._lock = threading.RLock()
        self._db = sqlite3.connect(path, timeout=60.0, isolation_level=None, check_same_thread=False)
        weakref.finalize(self, self._db.close)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")  # an image whose row a power cut took is found by its file
        with self._lock, self.change():
            for statement in _SCHEMA.split(";"):
                self._db.execute(statement)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._db.close()

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """A block whose changes are committed together, or not at all."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def rows(self, query: str, *values: object) -> list[Row]:
        """What a query gives."""
        with self._lock:
            return [dict(row) for row in self._db.execute(query, values)]

    def one(self, query: str, *values: object) -> Row | None:
        """Its first row."""
        return next(iter(self.rows(query, *values)), None)

    # what comes in

    def has(self, sop: str, study: str = "") -> bool:
        """Whether an image is here already; some anonymisers give those of several studies the same UIDs."""
        if study:
            return self.one("SELECT 1 FROM images WHERE sop=? AND study=?", sop, study) is not None
        return self.one("SELECT 1 FROM images WHERE sop=?", sop) is not None

    def is_result(self, sop: str) -> bool:
        """Whether an object is one that this node made."""
        return self.one("SELECT 1 FROM results WHERE sop=?", sop) is not None

    def add_image(self, image: Row, *, quiet_s: float) -> bool:
        """A new image, its study to be looked at when it falls quiet; False when it is here already."""
        now = time.time()
        with self.change() as db:
            added = db.execute(
                "INSERT OR IGNORE INTO images VALUES(:sop, :study, :series, :part, :file, :bytes, :frames, :received)",
                {**image, "received": now},
            ).rowcount
            if added:
                db.execute(
                    "INSERT INTO studies(study, name, state, first, last, look) VALUES(?, ?, 'receiving', ?, ?, ?) "
                    "ON CONFLICT(study) DO UPDATE SET state='receiving', last=excluded.last, look=excluded.look",
                    (image["study"], digest(image["study"]), now, now, now + quiet_s),
                )
        return bool(added)

    def forget_image(self, file: str) -> None:
        """Take a row back whose file never came to lie in its place."""
        with self.change() as db:
            db.execute("DELETE FROM images WHERE file=?", (file,))

    # what is looked at

    def to_look_at(self) -> list[Row]:
        """Studies that fell quiet."""
        return self.rows("SELECT * FROM studies WHERE look IS NOT NULL AND look<=? ORDER BY look", time.time())

    def looked(self, study: Row, *, state: str, look: float | None, message: str) -> bool:
        """Note what a look gave, unless an image came meanwhile."""
        with self.change() as db:
            return bool(
                db.execute(
                    "UPDATE studies SET state=?, look=?, message=? WHERE study=? AND last=?",
                    (state, look, message, study["study"], study["last"]),
                ).rowcount
            )

    def add_case(self, case: Row, *, parked: str = "") -> int | None:
        """A case to be done, or parked; None where it is there already, or more came since its study was looked at."""
        now = time.time()
        with self.change() as db:
            if (
                db.execute("SELECT 1 FROM studies WHERE study=? AND last=?", (case["study"], case["last"])).fetchone()
                is None
            ):
                return None
            before = db.execute(
                "SELECT id FROM cases WHERE study=? AND series=? ORDER BY id DESC", (case["study"], case["series"])
            ).fetchone()
            made = db.execute(
                "INSERT OR IGNORE INTO cases(study, series, images, settings, n_images, files, state,"
                " priority, message, replaces, failure, last, made)"
                " VALUES(:study, :series, :images, :settings, :n_images, :files, :state, :priority, :message,"
                " :replaces, :failure, :last, :made)",
                {**case, "state": "parked" if parked else "complete", "priority": 1 if before else 0,
                 "message": parked, "replaces": before["id"] if before else None, "failure": int(bool(parked)),
                 "made": now},
            )  # fmt: skip
            if not made.rowcount:
                return None
            db.execute(
                "UPDATE cases SET state='replaced', message='more images came' WHERE study=? AND series=? AND "
                "state='complete' AND id<>?",
                (case["study"], case["series"], made.lastrowid),
            )
            return made.lastrowid

    # what is done

    def take_case(self) -> Row | None:
        """The next case to be done, now running: new scans before what is done again, then in the order they came."""
        with self.change() as db:
            row = db.execute(
                "SELECT * FROM cases WHERE state='complete' AND due<=? ORDER BY priority, id LIMIT 1", (time.time(),)
            ).fetchone()
            if row is None:
                return None
            db.execute("UPDATE cases SET state='running', started=? WHERE id=?", (time.time(), row["id"]))
            return dict(row)

    def finish(
        self,
        number: int,
        *,
        state: str,
        message: str = "",
        due: float = 0.0,
        lost: bool = False,
        failure: bool = False,
        seconds: float | None = None,
    ) -> None:
        """What became of a case that ran."""
        with self.change() as db:
            db.execute(
                "UPDATE cases SET state=?, message=?, due=?, attempts=attempts+?, failure=?, seconds=?, "
                "stored=CASE WHEN ?='stored' THEN ? ELSE stored END WHERE id=?",
                (state, message, due, int(lost), int(failure), seconds, state, time.time(), number),
            )

    def restart(self) -> int:
        """Cases whose worker went with its node are to be done again."""
        with self.change() as db:
            return db.execute("UPDATE cases SET state='complete' WHERE state='running'").rowcount

    # what goes out

    def add_results(self, number: int, what: str, sops: Sequence[str], destinations: Sequence[str]) -> None:
        """Objects of a case, to be sent to each destination; those there already are left as they are."""
        with self.change() as db:
            db.executemany("INSERT OR IGNORE INTO results VALUES(?, ?)", [(sop, number) for sop in sops])
            db.executemany(
                "INSERT OR IGNORE INTO deliveries(number, destination, what, state) VALUES(?, ?, ?, 'waiting')",
                [(number, name, what) for name in destinations],
            )

    def due_delivery(self, destination: str) -> Row | None:
        """The next to be sent there, those of new scans first."""
        return self.one(
            "SELECT d.*, c.priority FROM deliveries d JOIN cases c ON c.id=d.number WHERE d.destination=? AND "
            "d.state='waiting' AND d.due<=? ORDER BY c.priority, d.due, d.number LIMIT 1",
            destination, time.time(),
        )  # fmt: skip

    def delivered(self, row: Row) -> bool:
        """Note that results arrived; True when they were the last ones of their case, which is done then."""
        now = time.time()
        with self.change() as db:
            db.execute(
                "UPDATE deliveries SET state='sent', sent=?, message='' WHERE number=? AND destination=? AND what=?",
                (now, row["number"], row["destination"], row["what"]),
            )
            left = db.execute(
                "SELECT COUNT(*) FROM deliveries WHERE number=? AND state<>'sent'", (row["number"],)
            ).fetchone()[0]
            if left:
                return False
            return bool(
                db.execute(
                    "UPDATE cases SET state='done', done=? WHERE id=? AND state='stored'", (now, row["number"])
                ).rowcount
            )

    def postponed(self, row: Row, *, due: float, message: str) -> None:
        """Note that results didn't arrive, and when to try again."""
        with self.change() as db:
            db.execute(
                "UPDATE deliveries SET attempts=attempts+1, due=?, message=? WHERE number=? AND destination=? AND "
                "what=?",
                (due, message, row["number"], row["destination"], row["what"]),
            )

    def drop_destinations(self, kept: Sequence[str]) -> int:
        """Forget what waits for destinations other than these; how many deliveries that were."""
        marks = ",".join("?" * len(kept))
        with self.change() as db:
            return db.execute(
                f"DELETE FROM deliveries WHERE state='waiting' AND destination NOT IN ({marks})", tuple(kept)
            ).rowcount

    # what is remembered

    def mark(self, name: str) -> str:
        """A word that was kept; empty when there is none."""
        row = self.one("SELECT value FROM marks WHERE name=?", name)
        return str(row["value"]) if row else ""

    def set_mark(self, name: str, value: str) -> None:
        """Keep a word."""
        with self.change() as db:
            db.execute("INSERT OR REPLACE INTO marks VALUES(?, ?)", (name, value))

    def count(self, name: str, by: int = 1) -> None:
        """Add to a counter."""
        with self.change() as db:
            db.execute(
                "INSERT INTO counts VALUES(?, ?) ON CONFLICT(name) DO UPDATE SET value=value+excluded.value", (name, by)
            )
