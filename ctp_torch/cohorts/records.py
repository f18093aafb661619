"""What came of each case, and whether that still holds: for the same files, settings and version."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path

from ctp_torch.cohorts.cases import Case
from ctp_torch.io.atomic import whole
from ctp_torch.io.listing import LISTING, read_listing
from ctp_torch.pipeline.analysis import MapSettings
from ctp_torch.pipeline.worker import Outcome

__all__ = ["Record", "fingerprint", "folder_of", "of_settings", "read_record", "stands", "write_record"]

_FOLDER = "cases"


@dataclass(frozen=True)
class Record:
    """One case and variant, done or failed."""

    case: str
    variant: str
    stamp: str
    """Of the files' sizes and times: while it is the same, nobody looks further."""
    content: str
    """Of the files' bytes."""
    settings: str
    """Of everything that changes the results."""
    version: str
    outcome: Outcome


def fingerprint(case: Case) -> tuple[str, str]:
    """Hashes of the sizes and times of a case's files, and of their bytes."""
    content = hashlib.sha256()
    for path in case.files:
        with path.open("rb") as stream:
            content.update(hashlib.file_digest(stream, "sha256").digest())
    return _stamp(case), content.hexdigest()


def _stamp(case: Case) -> str:
    """Hash of the names, sizes and times of a case's files."""
    stamp = hashlib.sha256()
    for path in case.files:
        facts = path.stat()
        stamp.update(f"{path.name}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    return stamp.hexdigest()


def of_settings(settings: MapSettings, formats: Sequence[str], *, report: bool) -> str:
    """Hash of the settings, files among them by their bytes; the device changes nothing that counts."""
    listed = {f.name: getattr(settings, f.name) for f in fields(settings) if f.name != "device"}
    bytes_of = {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in settings.files}
    text = {name: bytes_of.get(str(value), str(value)) for name, value in listed.items()}
    return hashlib.sha256(json.dumps([text, sorted(formats), report], sort_keys=True).encode()).hexdigest()


def stands(record: Record | None, case: Case, settings: str, folder: Path, *, retry_failed: bool = False) -> bool:
    """Whether what a record tells needn't be done again."""
    if record is None or record.settings != settings or record.version != version("ctp-torch"):
        return False
    if record.outcome.exit_code != 0:
        return not retry_failed and _same_files(record, case)
    listing = read_listing(folder / LISTING)
    if listing is None or listing.unfinished:
        return False
    for name, (size, _) in listing.files.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != size:
            return False
    return _same_files(record, case)


def _same_files(record: Record, case: Case) -> bool:
    """Whether the case consists of the bytes it consisted of; times alone may have changed."""
    try:
        return record.stamp == _stamp(case) or record.content == fingerprint(case)[1]
    except OSError:
        return False


def folder_of(out: Path, case: str) -> Path:
    """Where the results of a case come to lie, a folder a variant, and the records beside them."""
    return out / _FOLDER / case


def _path(out: Path, case: str, variant: str) -> Path:
    return folder_of(out, case) / f"{variant}.json"


def read_record(out: Path, case: str, variant: str) -> Record | None:
    """What is known of a case and variant; None where nothing is, or it can't be read."""
    try:
        text: Mapping[str, object] = json.loads(_path(out, case, variant).read_text(encoding="utf-8"))
        outcome = dict(text["outcome"])  # type: ignore[call-overload]
        outcome |= {name: tuple(outcome[name]) for name in ("warnings", "flags")}
        return Record(**{**text, "outcome": Outcome(**outcome)})  # type: ignore[arg-type]
    except (OSError, ValueError, TypeError, LookupError):
        return None


def write_record(out: Path, record: Record) -> None:
    """A record, whole or not at all."""
    path = _path(out, record.case, record.variant)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path, force=True) as partial:
        partial.write_text(json.dumps(asdict(record), indent=1) + "\n", encoding="utf-8")
