"""Objects to an archive over HTTP: Orthanc's own way, and STOW-RS of DICOMweb."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ctp_torch.archive.dicom_out import SendError
from ctp_torch.archive.settings import Destination, Source
from ctp_torch.archive.tls import client_context
from ctp_torch.errors import CTPError

__all__ = ["dicomweb", "http", "stow", "to_orthanc"]

_BATCH_BYTES = 64 << 20
"""Sent in one request, at most, where one object isn't more."""


def http(place: Destination | Source, *, timeout_s: float = 60.0) -> Any:
    """A client of an archive's HTTP interface.

    Raises
    ------
    CTPError
        when httpx isn't installed
    """
    try:
        import httpx
    except ImportError as error:
        raise CTPError('an archive over HTTP needs httpx: pip install "ctp-torch[archive]"') from error
    password = place.password.read()
    return httpx.Client(
        base_url=place.url.rstrip("/"),
        auth=(place.user, password) if place.user else None,
        headers={"Authorization": f"Bearer {password}"} if password and not place.user else {},
        verify=client_context(place.tls) if place.url.startswith("https") else True,
        timeout=timeout_s,
    )


def to_orthanc(paths: Sequence[Path], destination: Destination) -> None:
    """Every object by ``POST /instances``; one that is there already is left as it is.

    Raises
    ------
    SendError
        when one wasn't taken; sending all again does no harm
    """
    import httpx

    name = destination.name or destination.kind
    try:
        with http(destination, timeout_s=destination.timeout_s) as client:
            for path in paths:
                answer = client.post("/instances", content=path.read_bytes())
                if answer.status_code != httpx.codes.OK:
                    raise SendError(f"{name} answered HTTP {answer.status_code}")
    except httpx.HTTPError as error:
        raise SendError(f"{name} can't be reached ({type(error).__name__})") from error


def stow(paths: Sequence[Path], destination: Destination) -> None:
    """All objects by STOW-RS, several in a request.

    Raises
    ------
    SendError
        when one wasn't taken; sending all again does no harm
    """
    import requests
    from pydicom import dcmread

    name = destination.name or destination.kind
    client = dicomweb(destination, timeout_s=destination.timeout_s)
    try:
        for batch in _batches(paths):
            answer = client.store_instances([dcmread(path) for path in batch])
            failed, stored = answer.get("FailedSOPSequence") or [], answer.get("ReferencedSOPSequence") or []
            if failed or len(stored) != len(batch):
                raise SendError(f"{name} took {len(stored)} of {len(batch)} objects by STOW-RS")
    except (requests.RequestException, OSError) as error:
        response = getattr(error, "response", None)
        said = f"answered HTTP {response.status_code}" if response is not None else "can't be reached"
        raise SendError(f"{name} {said} ({type(error).__name__})") from error


def dicomweb(place: Destination | Source, *, timeout_s: float = 60.0) -> Any:
    """A client of an archive's DICOMweb interface.

    Raises
    ------
    CTPError
        when dicomweb-client isn't installed
    """
    try:
        import requests
        from dicomweb_client import DICOMwebClient
    except ImportError as error:
        raise CTPError('DICOMweb needs dicomweb-client: pip install "ctp-torch[archive]"') from error
    session = requests.Session()
    session.request = partial(session.request, timeout=timeout_s)
    password = place.password.read()
    if place.user:
        session.auth = (place.user, password)
    elif password:
        session.headers["Authorization"] = f"Bearer {password}"
    if place.tls.authorities:
        session.verify = place.tls.authorities
    if place.tls.certificate:
        session.cert = (place.tls.certificate, place.tls.key) if place.tls.key else place.tls.certificate
    client = DICOMwebClient(place.url.rstrip("/"), session=session)
    client.set_http_retry_params(retry=False)
    return client


def _batches(paths: Sequence[Path]) -> list[list[Path]]:
    """The files in groups that fit into a request."""
    groups: list[list[Path]] = []
    size = 0
    for path in paths:
        n_bytes = path.stat().st_size
        if not groups or size + n_bytes > _BATCH_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(path)
        size += n_bytes
    return groups
