"""Which perfusion series a study holds, and whether each is whole: judged by the grid of slices and times."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from ctp_torch.archive.journal import Journal, anonymous
from ctp_torch.archive.queue import Queue, Row
from ctp_torch.archive.settings import NodeSettings
from ctp_torch.errors import CTPError, IncompleteSeriesError
from ctp_torch.io.dicom.candidates import Candidate, candidates
from ctp_torch.io.dicom.grid import arrange
from ctp_torch.io.dicom.image import ImageHeader
from ctp_torch.io.dicom.index import index_files
from ctp_torch.io.dicom.select import ct_images
from ctp_torch.io.dicom.times import choose_clock

__all__ = ["FEWEST_TIMES", "Verdict", "judge", "look"]

FEWEST_TIMES = 4
"""Images at one position from which on a series shows a bolus."""
_SHORTEST_S = 35.0
"""No bolus is through in less: a scan that ends before has more to come."""


class Verdict(NamedTuple):
    """What a candidate is."""

    candidate: Candidate
    sure: bool
    """The headers tell how many time points there are, and they are here."""
    full: bool
    """Every slice has an image at every time."""
    why_not: str
    """What is missing, in words that name nobody; empty where nothing is known to be."""


def look(
    study: Row,
    settings: NodeSettings,
    queue: Queue,
    journal: Journal,
    *,
    key: str,
    duplicates: Literal["refuse", "first"],
) -> list[int]:
    """One look at a study that fell quiet: whole series become cases, others wait, or are parked at the deadline.

    Parameters
    ----------
    study
        row of the queue
    settings, queue, journal
        of the node
    key
        digest of the settings of maps and the version: images are processed once for each
    duplicates
        as for `ctp_torch.read_series`

    Returns
    -------
    list
        numbers of cases that are to be told why there are no maps
    """
    now_there = queue.one("SELECT last FROM studies WHERE study=?", study["study"])
    if now_there is None or now_there["last"] != study["last"]:  # more came since it was found quiet
        return []
    rows = queue.rows("SELECT * FROM images WHERE study=?", study["study"])
    paths = [settings.folder / row["file"] for row in rows]
    now, quiet = time.time(), time.time() - study["last"]
    if not all(path.exists() for path in paths):  # on their way
        queue.looked(study, state="receiving", look=now + settings.quiet_s, message="files are on their way")
        return []
    expected: dict[str, int] = {}
    for row in rows:
        expected[row["series"]] = max(expected.get(row["series"], 0), row["frames"])
    late, parked, waiting = quiet >= settings.deadline_s, [], []
    verdicts = judge(paths, expected, duplicates=duplicates)
    for verdict in verdicts:
        settled = verdict.full and (verdict.sure or (quiet >= settings.settle_s and not verdict.why_not))
        case = _case(study, verdict.candidate, settings.folder, key)
        if settled or (late and verdict.full):
            number = queue.add_case(case)
            if number is not None:
                journal.say("series complete", study=study["name"], case=number, images=case["n_images"])
        elif late:
            number = queue.add_case(case, parked=verdict.why_not)
            if number is not None:
                parked.append(number)
                journal.say("series parked", level="warning", study=study["name"], case=number, reason=verdict.why_not)
        else:
            waiting.append(verdict.why_not or "the headers don't tell whether more is to come")
    if waiting or (not verdicts and not late):
        told = "; ".join(waiting) or "no perfusion series yet"
        ends = (settings.settle_s, settings.deadline_s)
        ahead = min((study["last"] + end for end in ends if end > quiet), default=now)
        queue.looked(study, state="receiving", look=max(ahead, now + 0.2), message=told.splitlines()[0][:300])
    else:
        none = "" if verdicts else "no perfusion series"
        queue.looked(study, state="settled" if verdicts else "ignored", look=None, message=none)
    return parked


def judge(
    paths: Sequence[Path], expected: Mapping[str, int], *, duplicates: Literal["refuse", "first"] = "refuse"
) -> list[Verdict]:
    """The perfusion series among the files, each with what is known of its completeness.

    Parameters
    ----------
    paths
        of one study
    expected
        time points that a series is to have, by Series Instance UID; 0 where nobody tells
    duplicates
        as for `ctp_torch.read_series`
    """
    headers, _ = index_files(paths)
    images, _ = ct_images(headers)
    if not images:
        return []
    dynamic = [one for one in candidates(images) if one.n_frames >= FEWEST_TIMES]
    return [_verdict(one, max(expected.get(uid, 0) for uid in _series(one)), duplicates) for one in dynamic]


def _series(candidate: Candidate) -> set[str]:
    """Series Instance UIDs of a candidate."""
    return {image.series for image in candidate.images}


def _verdict(candidate: Candidate, expected: int, duplicates: Literal["refuse", "first"]) -> Verdict:
    """What is known of one candidate."""
    if candidate.refusal:
        return Verdict(candidate, False, False, anonymous(candidate.refusal))
    try:
        clock = candidate.clock or choose_clock(candidate.slices)
        grid = arrange(candidate.slices, clock, duplicates=duplicates)
    except IncompleteSeriesError as error:
        return Verdict(candidate, False, False, anonymous(str(error)))
    except CTPError as error:  # more images don't mend it, and the message says what would
        return Verdict(candidate, False, False, anonymous(str(error)))
    frames = len(grid.cells)
    if expected > frames and len(_series(candidate)) == 1:
        return Verdict(candidate, False, True, f"{frames} of {expected} time points are here")
    flat = [t for times in grid.times for t in times]
    length = max(flat) - min(flat)
    if clock.seconds and length < _SHORTEST_S:
        return Verdict(candidate, False, True, f"{frames} time points end after {length:.0f} s: more must follow")
    return Verdict(candidate, FEWEST_TIMES <= expected <= frames, True, "")


def _case(study: Row, candidate: Candidate, folder: Path, key: str) -> dict[str, object]:
    """The row of a case."""
    images = sorted(candidate.images, key=lambda image: image.uid)
    files = sorted({str(image.path.relative_to(folder)) for image in images})
    return {
        "study": study["study"], "series": candidate.key, "images": _content(images), "settings": key,
        "n_images": len(images), "files": "\n".join(files), "last": study["last"],
    }  # fmt: skip


def _content(images: Sequence[ImageHeader]) -> str:
    """What tells one set of images from another."""
    names = "\n".join(f"{image.uid} {image.pixels.frame}" for image in images)
    return hashlib.sha256(names.encode()).hexdigest()
