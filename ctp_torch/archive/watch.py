"""Places that are looked at for images: an Orthanc, a DICOMweb archive, a folder."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from ctp_torch.archive.journal import Journal, digest
from ctp_torch.archive.settings import Source
from ctp_torch.archive.store import FullError, Store
from ctp_torch.archive.web_out import dicomweb, http
from ctp_torch.errors import CTPError
from ctp_torch.io.dicom.index import find_files, looks_like_dicom
from ctp_torch.io.results.objects import MAKER

__all__ = ["keep_watching"]

_PAGE = 200
"""Changes asked for at once."""
_LONGEST_S = 60.0
"""Between two tries to reach an archive that is down."""


def keep_watching(source: Source, store: Store, journal: Journal, stop: threading.Event) -> None:
    """Look at a place again and again, and take in what is new, until told to stop.

    Parameters
    ----------
    source
        the place
    store
        takes the images
    journal
        is told when the place can't be reached, and when it can again
    stop
        ends it
    """
    look: Callable[[Source, Store, threading.Event], int] = {
        "orthanc": _look_at_orthanc, "dicomweb": _look_at_dicomweb, "folder": _look_at_folder
    }[source.kind]  # fmt: skip
    errors = _unreachable()
    name, pause, down = source.name or source.kind, source.every_s, False
    new = 0
    while not stop.is_set():
        try:
            taken = look(source, store, stop)
        except errors as error:
            pause = min(_LONGEST_S, max(pause, 0.5) * 2)
            if not down:
                reason = str(error) if isinstance(error, CTPError) else type(error).__name__
                journal.say("place can't be looked at", level="warning", place=name, reason=reason)
            down = True
        else:
            if down:
                journal.say("place is looked at again", place=name)
            pause, down = source.every_s, False
            if taken:
                store.queue.count("objects received, new", taken)
                new += taken
                continue
            if new:
                journal.say("images taken in", place=name, images=new)
                new = 0
        stop.wait(pause)


def _unreachable() -> tuple[type[Exception], ...]:
    """What the clients raise when an archive is down or answers nonsense."""
    errors: list[type[Exception]] = [FullError, OSError, ValueError, KeyError]
    try:
        import httpx

        errors.append(httpx.HTTPError)
    except ImportError:
        pass
    try:
        import requests

        errors.append(requests.RequestException)
    except ImportError:
        pass
    return tuple(errors)


def _take(store: Store, chunks: Iterator[bytes]) -> int:
    """One file taken in from its bytes; 1 when it was new. One that is broken is passed over: it stays so."""
    part = store.part()
    try:
        with part.open("wb") as stream:
            for chunk in chunks:
                stream.write(chunk)
        return int(store.keep(part).what == "new")
    except FullError:
        raise
    except CTPError:
        store.queue.count("objects refused, broken")
        return 0
    finally:
        part.unlink(missing_ok=True)


def _look_at_orthanc(source: Source, store: Store, stop: threading.Event) -> int:
    """The next page of ``/changes``; how far we are is kept only when all of it is on disk."""
    mark = f"orthanc {source.url}"
    if not store.has_room():
        raise FullError("no room for more")
    series: dict[str, bool] = {}
    taken = 0
    with http(source) as client:
        since = int(store.queue.mark(mark) or 0)
        page = client.get("/changes", params={"since": since, "limit": _PAGE}).raise_for_status().json()
        if not page["Changes"] and int(page.get("Last", since)) < since:  # another archive behind the same address
            store.queue.set_mark(mark, "0")
            return 0
        for change in page["Changes"]:
            if stop.is_set():
                return taken
            if change["ChangeType"] == "NewInstance":
                taken += _from_orthanc(client, str(change["ID"]), series, store)
        if int(page["Last"]) != since:
            store.queue.set_mark(mark, str(page["Last"]))
            return max(taken, 0 if page["Done"] else 1)
    return taken


def _from_orthanc(client: Any, instance: str, series: dict[str, bool], store: Store) -> int:
    """One instance, where its series is a CT that isn't ours."""
    answer = client.get(f"/instances/{instance}")
    if answer.status_code == 404:  # deleted meanwhile
        return 0
    facts = answer.raise_for_status().json()
    sop = str(facts["MainDicomTags"].get("SOPInstanceUID", ""))
    parent = str(facts["ParentSeries"])
    if parent not in series:
        told = client.get(f"/series/{parent}")
        tags = {} if told.status_code == 404 else told.raise_for_status().json()["MainDicomTags"]
        series[parent] = tags.get("Modality") == "CT" and tags.get("Manufacturer") != MAKER
        if tags.get("Modality") == "CT" and tags.get("Manufacturer") == MAKER:
            series[parent] = _is_original(client, instance)
    if not series[parent] or store.queue.is_result(sop):
        return 0
    with client.stream("GET", f"/instances/{instance}/file") as stream:
        if stream.status_code == 404:
            return 0
        stream.raise_for_status()
        return _take(store, stream.iter_bytes(1 << 20))


def _is_original(client: Any, instance: str) -> bool:
    """Whether an image of our maker is one as from a scanner (a digital patient), and no result."""
    tags = client.get(f"/instances/{instance}/simplified-tags").raise_for_status().json()
    return "ORIGINAL" in str(tags.get("ImageType", "")).upper()


def _look_at_dicomweb(source: Source, store: Store, stop: threading.Event) -> int:
    """CT series of the last days whose number of instances changed since they were looked at."""
    if not store.has_room():
        raise FullError("no room for more")
    client, taken = dicomweb(source), 0
    first = date.today() - timedelta(days=source.days)
    wanted = {"ModalitiesInStudy": "CT", **({"StudyDate": f"{first:%Y%m%d}-"} if source.days else {})}
    for study in client.search_for_studies(search_filters=wanted):
        uid = _value(study, "0020000D")
        for one in client.search_for_series(uid, fields=["00201209"], search_filters={"Modality": "CT"}):
            series, number = _value(one, "0020000E"), _value(one, "00201209")
            mark = f"dicomweb {source.url} {digest(series)}"
            if number and store.queue.mark(mark) == number:
                continue
            for instance in client.search_for_instances(uid, series):
                sop = _value(instance, "00080018")
                if stop.is_set():
                    return taken
                if not store.queue.has(sop, uid) and not store.queue.is_result(sop):
                    taken += _from_dicomweb(client, (uid, series, sop), store)
            store.queue.set_mark(mark, number)
    return taken


def _from_dicomweb(client: Any, names: tuple[str, str, str], store: Store) -> int:
    """One instance by WADO-RS, as it is stored there."""
    import io

    from pydicom import dcmwrite

    one = client.retrieve_instance(*names, media_types=(("application/dicom", "*"),))
    buffer = io.BytesIO()
    dcmwrite(buffer, one, enforce_file_format=True)
    return _take(store, iter([buffer.getvalue()]))


def _value(item: dict[str, Any], tag: str) -> str:
    """The first value of an attribute in DICOM JSON."""
    values = item.get(tag, {}).get("Value") or [""]
    return str(values[0])


def _look_at_folder(source: Source, store: Store, stop: threading.Event) -> int:
    """Files that are there and didn't change between two looks; what is moved away is on our disk before."""
    folder, taken = Path(source.folder), 0
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not there")
    now = time.time()
    for path in find_files(folder):
        if stop.is_set() or not store.has_room():
            return taken
        try:
            facts = path.stat()
        except OSError:
            continue
        stamp = f"{facts.st_size} {facts.st_mtime_ns}"
        mark = f"folder {digest(str(path))}"
        if store.queue.mark(mark) == stamp or now - facts.st_mtime < source.every_s or not looks_like_dicom(path):
            continue
        part = store.part()
        try:
            shutil.copyfile(path, part)
            kept = store.keep(part).what
        except FullError:
            raise
        except CTPError:
            kept = "broken"
            store.queue.count("objects refused, broken")
        if source.take == "move" and kept in ("new", "again"):
            path.unlink(missing_ok=True)
        else:
            store.queue.set_mark(mark, stamp)
        taken += kept == "new"
    return taken
