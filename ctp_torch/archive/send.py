"""Results to where they belong: tried again for as long as it takes, a dead destination in nobody's way."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ctp_torch.archive import dicom_out, web_out
from ctp_torch.archive.journal import Journal, anonymous
from ctp_torch.archive.queue import Queue, Row
from ctp_torch.archive.settings import Destination, NodeSettings
from ctp_torch.archive.store import Store
from ctp_torch.errors import CTPError

__all__ = ["FIRST_S", "LONGEST_S", "SendError", "keep_sending", "wait_before"]

FIRST_S, LONGEST_S = 1.0, 300.0
"""Before the second attempt, and between later ones at most."""
_IDLE_S = 0.25

SendError = dicom_out.SendError


def keep_sending(
    settings: NodeSettings, destination: Destination, store: Store, journal: Journal, stop: threading.Event
) -> None:
    """Send whatever is due to a destination, until told to stop.

    Parameters
    ----------
    settings, store, journal
        of the node
    destination
        one of its
    stop
        ends it
    """
    queue, name = store.queue, destination.name or destination.kind
    send = _sender(settings, destination, queue)
    while not stop.is_set():
        row = queue.due_delivery(name)
        if row is None:
            stop.wait(_IDLE_S)
            continue
        folder = store.case(row["number"]) / row["what"]
        try:
            if not folder.is_dir():
                raise SendError("the results are gone; make them again with ctp-torch node retry")
            send(row, folder)
        except SendError as error:
            pause = wait_before(row["attempts"] + 1)
            queue.postponed(row, due=time.time() + pause, message=anonymous(str(error)))
            journal.say("not delivered", level="warning", case=row["number"], destination=name, reason=str(error),
                        attempt=row["attempts"] + 1, again_s=round(pause))  # fmt: skip
            continue
        last = queue.delivered(row)
        case = queue.one("SELECT study, last FROM cases WHERE id=?", row["number"])
        journal.say("delivered", case=row["number"], destination=name, what=row["what"], last=last,
                    since_last_image_s=round(time.time() - case["last"], 1) if case else None)  # fmt: skip
        if case:
            journal.note("sent", study=case["study"], who=name)


def wait_before(attempt: int) -> float:
    """Seconds before an attempt (the first repeat is 1): doubled each time, drawn apart, never beyond the longest."""
    return min(LONGEST_S, FIRST_S * 2.0 ** min(attempt - 1, 30)) * random.uniform(0.75, 1.0)


def _sender(settings: NodeSettings, destination: Destination, queue: Queue) -> Callable[[Row, Path], None]:
    """How this destination is served."""
    wait = min(destination.timeout_s, 60.0)
    if destination.kind == "dicom":
        return lambda row, folder: dicom_out.send(
            _objects(folder, destination), destination, settings.dicom.aet, queue, patience_s=wait
        )
    if destination.kind == "stow":
        return lambda row, folder: web_out.stow(_objects(folder, destination), destination)
    if destination.kind == "orthanc":
        return lambda row, folder: web_out.to_orthanc(_objects(folder, destination), destination)
    return lambda row, folder: _to_folder(row, folder, destination, queue)


def _objects(folder: Path, destination: Destination) -> Sequence[Path]:
    """The DICOM objects that a destination gets: those of its formats, and a failure page always."""
    kinds = folder / "dicom"
    if not kinds.is_dir():
        return sorted(folder.glob("*.dcm"))
    return [path for name in destination.formats for path in sorted((kinds / name).glob("*.dcm"))]


def _to_folder(row: Row, folder: Path, destination: Destination, queue: Queue) -> None:
    """A folder a case, named by the hash of its study: all of it, or nothing."""
    import shutil

    from ctp_torch.io.claims import delivered

    case = queue.one("SELECT s.name FROM cases c JOIN studies s ON s.study=c.study WHERE c.id=?", row["number"])
    name = f"{case['name'] if case else 'case'}-{row['number']}"
    place = Path(destination.folder) / (name if row["what"] == "maps" else f"{name}-failure")
    unwanted = {*(("nifti",) if "nifti" not in destination.formats else ())}
    try:
        with delivered(place, force=True) as inside:
            for path in sorted(folder.rglob("*")):
                inner = path.relative_to(folder)
                other = inner.parts[0] == "dicom" and len(inner.parts) > 1 and inner.parts[1] not in destination.formats
                nifti = bool(unwanted) and path.name.endswith(".nii.gz")
                if path.is_dir() or inner.name.startswith(".") or other or nifti:
                    continue
                (inside / inner).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, inside / inner)
    except (CTPError, OSError) as error:
        raise SendError(
            f"{destination.folder} can't be written: {getattr(error, 'strerror', None) or error}"
        ) from error
