"""Images on disk: written aside, entered in the queue, then moved into place; what a dead process left is mended."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ctp_torch.archive.headers import Image, read_image
from ctp_torch.archive.journal import digest
from ctp_torch.archive.queue import Queue
from ctp_torch.archive.settings import NodeSettings
from ctp_torch.errors import CTPError
from ctp_torch.io.listing import flush
from ctp_torch.io.workplace import remove

__all__ = ["FullError", "Kept", "Store"]

_LOOK_S = 1.0
"""Between two looks at how full the disk is."""


class FullError(CTPError):
    """There is no room for more."""

    exit_code = 6


class Kept(NamedTuple):
    """What became of an object that came in."""

    image: Image
    what: str
    """new, again (it is here), own (a result of this node), or other (no CT image)."""


class Store:
    """The images of a node.

    Parameters
    ----------
    settings
        of the node
    queue
        of the node
    door
        whose files on their way in lie apart: receive, watch ...
    """

    def __init__(self, settings: NodeSettings, queue: Queue, door: str = "work") -> None:
        self.settings, self.queue = settings, queue
        self.parts = settings.folder / "arriving" / door
        self.studies = settings.folder / "studies"
        self.cases = settings.folder / "cases"
        for folder in (self.parts, self.studies, self.cases):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._looked, self._room = 0.0, True

    def part(self) -> Path:
        """A place for a file on its way in."""
        return self.parts / f"{secrets.token_hex(12)}.dcm"

    def has_room(self) -> bool:
        """Whether more may be accepted."""
        now = time.monotonic()
        if now - self._looked >= _LOOK_S:
            self._looked = now
            free = shutil.disk_usage(self.settings.folder).free
            self._room = free >= self.settings.keep_free_gb * 1e9
            if self._room and self.settings.max_stored_gb:
                row = self.queue.one("SELECT COALESCE(SUM(bytes), 0) AS bytes FROM images")
                self._room = row is not None and row["bytes"] < self.settings.max_stored_gb * 1e9
        return self._room

    def keep(self, part: Path) -> Kept:
        """A whole file among the parts taken in; it is gone from there afterwards, whatever becomes of it.

        Raises
        ------
        UnreadableFileError
            when it is no DICOM image; it is removed
        FullError
            when there is no room
        """
        try:
            image = read_image(part)
            if self.queue.is_result(image.sop) or image.own:
                return Kept(image, "own")
            if not image.ct:
                return Kept(image, "other")
            if self.queue.has(image.sop, image.study):
                return Kept(image, "again")
            if not self.has_room():
                raise FullError(f"{self.settings.folder} is full: nothing more is accepted")
            return Kept(image, "new" if self._move_in(part, image) else "again")
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                self._room, self._looked = False, time.monotonic()
                raise FullError(f"{self.settings.folder} is full: nothing more is accepted") from error
            raise
        finally:
            part.unlink(missing_ok=True)

    def _move_in(self, part: Path, image: Image) -> bool:
        """To disk, then into the queue, then to its place; False when another was faster."""
        flush(part)
        place = self._place(image)
        place.parent.mkdir(exist_ok=True, mode=0o700)
        row = {
            "sop": image.sop, "study": image.study, "series": image.series, "part": f"{self.parts.name}/{part.name}",
            "file": str(place.relative_to(self.settings.folder)), "bytes": part.stat().st_size, "frames": image.frames,
        }  # fmt: skip
        if not self.queue.add_image(row, quiet_s=self.settings.quiet_s):
            return False
        part.replace(place)
        return True

    def _place(self, image: Image) -> Path:
        """Where an image comes to lie; names tell nothing."""
        return self.studies / digest(image.study) / f"{digest(image.sop)}.dcm"

    def mend(self) -> int:
        """After a start: files whose move was cut short are moved, rows without a file taken back, the rest removed.

        Returns
        -------
        int
            images that were mended
        """
        mended = 0
        for row in self.queue.rows("SELECT part, file FROM images WHERE part LIKE ?", f"{self.parts.name}/%"):
            place, part = self.settings.folder / row["file"], self.parts.parent / row["part"]
            if place.exists():
                continue
            if part.exists():
                place.parent.mkdir(exist_ok=True, mode=0o700)
                part.replace(place)
            else:
                self.queue.forget_image(row["file"])  # it was never answered for: its sender will send it again
            mended += 1
        for part in self.parts.iterdir():
            part.unlink(missing_ok=True)
        return mended + self._adopt()

    def _adopt(self) -> int:
        """Rows for files that have none: a power cut may take the last ones, and their files were answered for."""
        known = {row["file"] for row in self.queue.rows("SELECT file FROM images")}
        strays = [path for path in self._files() if str(path.relative_to(self.settings.folder)) not in known]
        for path in strays:
            part = self.part()
            path.replace(part)
            with suppress(CTPError):
                self.keep(part)
        return len(strays)

    def _files(self) -> Iterator[Path]:
        """All images."""
        for folder in self.studies.iterdir():
            yield from folder.glob("*.dcm")

    def case(self, number: int) -> Path:
        """The folder of a case: ``in`` its images, ``maps`` its results, ``failure`` its page."""
        return self.cases / str(number)

    def link(self, number: int, files: list[str]) -> Path:
        """A folder of just the images of a case; they take no room."""
        place = self.case(number) / "in"
        remove(place)
        place.mkdir(parents=True, mode=0o700)
        for name in files:
            source = self.settings.folder / name
            try:
                os.link(source, place / source.name)
            except FileNotFoundError as error:
                raise CTPError(f"images of case {number} were deleted: send the series again") from error
        return place

    def clear(self, *, now: float | None = None) -> int:
        """Delete images and results of studies that are settled for longer than they are kept.

        Returns
        -------
        int
            studies deleted
        """
        before = (time.time() if now is None else now) - self.settings.keep_days * 86_400
        gone = self.queue.rows(
            "SELECT study, name FROM studies s WHERE last<? AND look IS NULL AND state<>'deleted' AND NOT EXISTS "
            "(SELECT 1 FROM cases c WHERE c.study=s.study AND (c.state IN ('complete','running','stored') OR EXISTS "
            "(SELECT 1 FROM deliveries d WHERE d.number=c.id AND d.state='waiting')))",
            before,
        )
        for row in gone:
            self.delete(row["study"])
        return len(gone)

    def delete(self, study: str) -> None:
        """Take a study's files away; its cases stay in the list, and aren't done again when the same images come."""
        with self.queue.change() as db:
            db.execute("DELETE FROM images WHERE study=?", (study,))
            db.execute("UPDATE studies SET state='deleted', look=NULL WHERE study=?", (study,))
        remove(self.studies / digest(study))
        for row in self.queue.rows("SELECT id FROM cases WHERE study=?", study):
            remove(self.case(row["id"]))
