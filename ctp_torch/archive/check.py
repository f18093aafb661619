"""Whether a node can run: its disk, its settings, and every connection, tried."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from ctp_torch.archive.settings import Destination, NodeSettings, Source
from ctp_torch.errors import CTPError

__all__ = ["Finding", "check_disk", "findings"]

_NETWORK = {
    "nfs", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "afs", "9p", "ceph", "glusterfs", "lustre", "beegfs", "gpfs",
    "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs", "fuse.rclone", "davfs", "fuse.davfs2", "virtiofs",
}  # fmt: skip
"""File systems on which SQLite's write-ahead log and locks can't be relied on."""


class Finding(NamedTuple):
    """One thing that was tried."""

    what: str
    problem: str
    """Empty when all is well."""


def findings(settings: NodeSettings) -> Iterator[Finding]:
    """Everything a node needs, tried one by one.

    Parameters
    ----------
    settings
        of the node
    """
    yield _tried("folder on a local disk, writable", lambda: check_disk(settings.folder))
    yield _tried("settings of the maps", lambda: settings.map_settings())
    yield _tried(f"formats {', '.join(settings.formats)}", lambda: _formats(settings))
    if settings.dicom.port:
        yield _tried(
            f"door {settings.dicom.aet} at {settings.dicom.host}:{settings.dicom.port}", lambda: _door(settings)
        )
    for source in settings.watch:
        yield _tried(f"place to look at: {source.name or source.kind}", lambda s=source: _source(s))  # type: ignore[misc]
    for one in settings.send:
        yield _tried(f"destination {one.name or one.kind}", lambda d=one: _destination(d, settings))  # type: ignore[misc]
    if settings.page.port:
        yield _tried(f"page at {settings.page.host}:{settings.page.port}", lambda: _page(settings))


def _tried(what: str, attempt: Callable[[], object]) -> Finding:
    """One attempt."""
    try:
        attempt()
    except (CTPError, ValueError) as error:
        return Finding(what, str(error))
    except OSError as error:
        return Finding(what, f"{error.strerror or type(error).__name__}")
    return Finding(what, "")


def check_disk(folder: Path) -> None:
    """Refuse a network disk, and one that can't be written.

    Raises
    ------
    CTPError
        with the reason
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    kind = file_system(folder)
    if kind in _NETWORK:
        raise CTPError(
            f"{folder} lies on a network disk ({kind}), where a queue can be lost: choose a folder on a local disk"
        )
    try:
        with tempfile.TemporaryFile(dir=folder) as stream:
            stream.write(b"0")
    except OSError as error:
        raise CTPError(f"{folder} can't be written: {error.strerror}") from error


def file_system(folder: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """The kind of file system that a folder lies on; empty where the system doesn't tell."""
    if not mounts.is_file():
        return ""
    real, best, kind = os.path.realpath(folder), "", ""
    for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines():
        parts = line.split()
        if len(parts) < 3:
            continue
        point = parts[1].replace("\\040", " ")
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, parts[2]
    return kind


def _formats(settings: NodeSettings) -> None:
    """What the formats need."""
    from ctp_torch.io.results.write_maps import check_formats

    check_formats(settings.formats, lesions=settings.map_settings().lesions)
    free = shutil.disk_usage(settings.folder).free
    if free < settings.keep_free_gb * 1e9:
        raise CTPError(f"{free / 1e9:.1f} GB are free, less than keep_free_gb = {settings.keep_free_gb:g}")


def _free(host: str, port: int) -> None:
    """A port that can be listened on, or that this node listens on already."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((host, port))
        except OSError as error:
            raise CTPError(
                f"port {port} can't be listened on ({error.strerror}): is the node running already?"
            ) from error


def _door(settings: NodeSettings) -> None:
    """The Storage SCP."""
    from ctp_torch.archive.receive import need_pynetdicom
    from ctp_torch.archive.tls import server_context

    need_pynetdicom()
    if settings.dicom.tls:
        server_context(settings.dicom.tls)
    _free(settings.dicom.host, settings.dicom.port)


def _source(source: Source) -> None:
    """A place to look at."""
    if source.kind == "folder":
        if not os.access(source.folder, os.R_OK | os.X_OK):
            raise CTPError(f"{source.folder} can't be read")
        if source.take == "move" and not os.access(source.folder, os.W_OK):
            raise CTPError(f'{source.folder} can\'t be written, which take = "move" needs')
    elif source.kind == "orthanc":
        _orthanc(source)
    else:
        _dicomweb(source)


def _destination(one: Destination, settings: NodeSettings) -> None:
    """A destination."""
    if one.kind == "folder":
        Path(one.folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=one.folder) as stream:
            stream.write(b"0")
    elif one.kind == "dicom":
        from ctp_torch.archive.dicom_out import echo

        echo(one, settings.dicom.aet)
    elif one.kind == "orthanc":
        _orthanc(one)
    else:
        _dicomweb(one)


def _orthanc(place: Source | Destination) -> None:
    """Orthanc's own interface."""
    import httpx

    from ctp_torch.archive.web_out import http

    try:
        with http(place, timeout_s=10.0) as client:
            client.get("/system").raise_for_status()
    except httpx.HTTPError as error:
        raise CTPError(f"{place.url} doesn't answer as an Orthanc does ({_said(error)})") from error


def _dicomweb(place: Source | Destination) -> None:
    """QIDO-RS, which a DICOMweb archive has beside the others."""
    from ctp_torch.archive.web_out import dicomweb

    client = dicomweb(place, timeout_s=10.0)
    import requests

    try:
        client.search_for_studies(limit=1)
    except requests.RequestException as error:
        raise CTPError(f"{place.url} doesn't answer as DICOMweb does ({_said(error)})") from error


def _said(error: Exception) -> str:
    """The HTTP status, or the kind of error."""
    response = getattr(error, "response", None)
    return f"HTTP {response.status_code}" if response is not None else type(error).__name__


def _page(settings: NodeSettings) -> None:
    """The status page."""
    from ctp_torch.archive.tls import server_context

    if settings.page.tls:
        server_context(settings.page.tls)
    settings.page.token.read()
    _free(settings.page.host, settings.page.port)
