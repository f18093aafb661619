"""Which scans there are below a folder, or in a table of paths."""

from __future__ import annotations

import csv
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ctp_torch.cohorts.headers import Header, digest, list_files, read_headers
from ctp_torch.errors import NoSeriesError, OptionError
from ctp_torch.io.dicom.index import find_files
from ctp_torch.io.limits import DAMAGE

__all__ = ["Case", "Skipped", "find_cases"]

_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
_NIFTI = (".nii", ".nii.gz")
_TABLES = (".csv", ".tsv")
_FEWEST_TIMES = 4
"""Images at one position from which on a series shows a bolus."""
_OPTIONS = ("series", "times", "dt", "aif", "vof", "mask")
"""Columns of a table that are settings of the case."""


@dataclass(frozen=True)
class Case:
    """One scan of a cohort."""

    key: str
    """Hash of where it lies: its folder of results is named so."""
    source: Path
    """What ``read_series`` takes."""
    files: tuple[Path, ...]
    """What it consists of, in order."""
    example: Path | None = None
    """A file of the series that is meant, where the source holds several."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Settings of this case alone, from a table."""


@dataclass(frozen=True)
class Skipped:
    """What is no case, and why."""

    source: Path
    reason: str
    files: int


def find_cases(
    where: str | Path, *, index: Path | None = None, progress: Callable[[str], None] | None = None
) -> tuple[list[Case], list[Skipped]]:
    """The perfusion scans of a place, in the order of their paths, and what was passed over.

    Parameters
    ----------
    where
        a folder (patients, studies, BIDS, or a dump of mixed DICOM files, searched to the bottom; NIfTI series, zips
        and tar archives are cases of their own), or a CSV or TSV with a column ``path`` (relative to the table) and
        columns ``series``, ``times``, ``dt``, ``aif``, ``vof``, ``mask`` where wanted
    index
        file in which headers are kept, so that the next call takes seconds
    progress
        called with how far it is

    Raises
    ------
    NoSeriesError
        when there is nothing at that place, or a table names what isn't there
    OptionError
        for a table without ``path``, or with unknown columns
    """
    place = Path(where)
    if place.is_file() and place.suffix.lower() in _TABLES:
        return _of_table(place), []
    if not place.is_dir():
        raise NoSeriesError(f"{place} is no folder and no .csv or .tsv of paths: give one of them")
    files = list_files(place)
    volumes = [name for name in files if name.lower().endswith(_NIFTI)]
    archives = [name for name in files if name.lower().endswith(_ARCHIVES)]
    cases, skipped = _volumes(place, [place / name for name in volumes])
    cases += [_case(place, place / name, (place / name,)) for name in archives]
    apart = (*_NIFTI, *_ARCHIVES, ".json", *_TABLES)
    rest = {name: stamp for name, stamp in files.items() if not name.lower().endswith(apart)}
    more, others = _dicom(place, read_headers(place, rest, index=index, progress=progress))
    cases = sorted([*cases, *more], key=lambda case: (str(case.source), str(case.example or "")))
    return cases, sorted([*skipped, *others], key=lambda one: str(one.source))


def _case(root: Path, source: Path, files: Sequence[Path], example: Path | None = None, what: str = "") -> Case:
    """A case, its key from where it lies below the root."""
    name = os.path.relpath(source, root)
    return Case(digest(f"{name}\0{what}"), source, tuple(files), example)


def _of_table(table: Path) -> list[Case]:
    """The cases of a CSV or TSV."""
    text = table.read_text(encoding="utf-8-sig")
    rows = list(csv.DictReader(text.splitlines(), delimiter="\t" if table.suffix.lower() == ".tsv" else ","))
    columns = set(rows[0]) if rows else set()
    unknown = sorted(str(name) for name in columns - {"path", "name", *_OPTIONS})
    if "path" not in columns or unknown:
        problem = f"unknown columns {', '.join(unknown)}" if unknown else "no column 'path'"
        raise OptionError(f"{table}: {problem}; known: path, name, {', '.join(_OPTIONS)}")
    cases = []
    for number, row in enumerate(rows, start=2):
        source = table.parent / row["path"]
        if not source.exists():
            raise NoSeriesError(f"{table}, line {number}: no {row['path']} (paths are relative to the table)")
        options = {name: row[name] for name in _OPTIONS if row.get(name)}
        files = tuple(find_files(source)) if source.is_dir() else (source,)
        text = "\0".join(f"{k}={v}" for k, v in sorted(options.items()))
        cases.append(Case(digest(f"{row['path']}\0{text}"), source, files, options=options))
    return cases


def _volumes(root: Path, files: Iterable[Path]) -> tuple[list[Case], list[Skipped]]:
    """The four-dimensional NIfTI files; those of ``derivatives`` only where there are no others."""
    import nibabel
    from nibabel.filebasedimages import ImageFileError

    series, skipped = [], []
    for path in files:
        try:
            shape = nibabel.load(path).shape
        except (ImageFileError, *DAMAGE):
            series.append(path)  # a damaged series fails by itself, with its own message
            continue
        if len(shape) == 4 and shape[3] >= _FEWEST_TIMES:
            series.append(path)
        else:
            skipped.append(Skipped(path, "one volume", 1))
    raw = [path for path in series if "derivatives" not in path.relative_to(root).parts]
    if raw:
        skipped += [Skipped(path, "derived, and there are raw series", 1) for path in series if path not in set(raw)]
    return [_case(root, path, (path,)) for path in raw or series], skipped


def _dicom(root: Path, headers: Mapping[str, Header | None]) -> tuple[list[Case], list[Skipped]]:
    """The perfusion series among the images; a study whose series are single time points is one case."""
    studies: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, header in headers.items():
        if header is not None:
            studies[header.patient, header.study][header.series].append(name)
    members = _members(name for name, header in headers.items() if header is not None)
    cases, skipped = [], []
    for of_study in studies.values():
        left: list[str] = []
        perfused = 0
        for series, names in of_study.items():
            home = _home(names)
            reason = _why_not(names, headers)
            if not reason:
                perfused += 1
                files = [root / name for name in names]
                example = files[0] if members[home] > len(names) else None
                cases.append(_case(root, root / home, files, example, series if example else ""))
            elif reason == "too few time points":
                left += names
            else:
                skipped.append(Skipped(root / home, reason, len(names)))
        if left and not perfused and not _why_not(left, headers):
            cases.append(_case(root, root / _home(left), [root / name for name in left]))
        elif left:
            skipped.append(Skipped(root / _home(left), "too few time points", len(left)))
    unread = [root / name for name, header in headers.items() if header is None]
    skipped += [Skipped(path, "no DICOM image", 1) for path in unread]
    return cases, skipped


def _members(names: Iterable[str]) -> dict[str, int]:
    """How many images lie below each folder; the root is called by the empty text."""
    members = Counter(os.path.dirname(name) for name in names)  # noqa: PTH120 - many texts, few folders
    for folder, count in list(members.items()):
        while folder:
            folder = os.path.dirname(folder)  # noqa: PTH120
            members[folder] += count
    return members


def _why_not(names: Sequence[str], headers: Mapping[str, Header | None]) -> str:
    """Why these images are no perfusion series; empty where they may be."""
    own = [header for name in names if (header := headers[name]) is not None]
    if not any(header.ct for header in own):
        return "no CT"
    if all(header.derived for header in own):
        return "derived images"
    if any(header.frames > 1 for header in own):
        return "" if sum(header.frames for header in own) >= _FEWEST_TIMES else "too few time points"
    positions = {header.position for header in own}
    return "" if len(own) >= _FEWEST_TIMES * len(positions) else "too few time points"


def _home(names: Iterable[str]) -> str:
    """The deepest folder that holds them all."""
    folders = {os.path.dirname(name) for name in names}  # noqa: PTH120
    return os.path.commonpath(folders) if all(folders) else ""
