"""What a node is told: where images come from and results go, how long to wait, how much to take."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctp_torch.errors import OptionError

if TYPE_CHECKING:
    from ctp_torch.pipeline.analysis import MapSettings

__all__ = ["Destination", "DicomDoor", "NodeSettings", "Page", "Peer", "Secret", "Source", "Tls"]

FORMATS = ("nifti", "ct", "rgb", "pm", "seg", "sr")


@dataclass(frozen=True)
class Secret:
    """A word that is never written into the settings: it is read where it is needed."""

    env: str = ""
    """Variable of the environment that holds it."""
    file: str = ""
    """File that holds it, and nothing else."""

    def read(self) -> str:
        """The word; empty where none is meant.

        Raises
        ------
        OptionError
            when the variable or the file isn't there
        """
        if self.env:
            if self.env not in os.environ:
                raise OptionError(f"the environment has no {self.env}, which the settings name as a secret")
            return os.environ[self.env]
        if self.file:
            try:
                return Path(self.file).read_text(encoding="utf-8").strip()
            except OSError as error:
                raise OptionError(f"the secret in {self.file} can't be read: {error.strerror}") from error
        return ""


@dataclass(frozen=True)
class Tls:
    """Certificates of one door."""

    certificate: str = ""
    """PEM file of our own, the chain with it."""
    key: str = ""
    """PEM file of its private key."""
    authorities: str = ""
    """PEM file of whom to believe; a door that has one lets in nobody without a certificate of theirs."""

    def __bool__(self) -> bool:
        return bool(self.certificate or self.authorities)


@dataclass(frozen=True)
class Peer:
    """Who may send."""

    aet: str
    """Application Entity title, as it calls itself."""
    address: str = ""
    """Address that it must come from; any when empty."""
    port: int = 0
    """Where it takes the answer to a storage commitment; over the same association when 0."""


@dataclass(frozen=True)
class DicomDoor:
    """The Storage SCP."""

    aet: str = "CTPTORCH"
    """Application Entity title that peers must call."""
    host: str = "127.0.0.1"
    """Address to listen on; nothing beyond this machine unless told."""
    port: int = 11112
    """TCP port; 0 for no door."""
    peers: tuple[Peer, ...] = ()
    """Who may send; anybody on this machine when there are none."""
    max_associations: int = 20
    """At once; more are refused as "local limit exceeded"."""
    max_pdu: int = 131072
    """Bytes of a protocol data unit; longer ones end the association."""
    max_object_mb: float = 512.0
    """Of one object [MB]; larger ones end the association."""
    timeout_s: float = 30.0
    """A peer that says nothing for so long, or takes so long for one protocol data unit, is let go."""
    tls: Tls = Tls()
    """With a certificate the door speaks TLS alone."""


@dataclass(frozen=True)
class Source:
    """A place to look for images."""

    kind: str
    """orthanc, dicomweb or folder."""
    name: str = ""
    """For log and list; the kind when empty."""
    url: str = ""
    """Of an archive."""
    folder: str = ""
    """To watch."""
    every_s: float = 2.0
    """Between two looks."""
    take: str = "copy"
    """Files of a folder: copy, or move."""
    days: int = 2
    """Studies of so many days are asked for (dicomweb)."""
    user: str = ""
    """For HTTP basic authentication."""
    password: Secret = Secret()
    """Its password, or a bearer token where there is no user."""
    tls: Tls = Tls()
    """Authorities to believe, and our own certificate where one is asked for."""


@dataclass(frozen=True)
class Destination:
    """Where results go."""

    kind: str
    """dicom, stow, orthanc or folder."""
    name: str = ""
    """For log and list; the kind when empty."""
    formats: tuple[str, ...] = ("ct", "rgb", "seg", "sr")
    """What it gets; a folder may get nifti too, and gets the report."""
    aet: str = ""
    """Application Entity title of the archive (dicom)."""
    host: str = ""
    """Of the archive (dicom)."""
    port: int = 104
    """Of the archive (dicom)."""
    url: str = ""
    """Of the archive (orthanc), or of its DICOMweb root (stow)."""
    folder: str = ""
    """A folder a case comes to lie in it."""
    commitment: bool = False
    """Ask for storage commitment and count a result as stored only when it was answered (dicom)."""
    timeout_s: float = 60.0
    """Without an answer for so long it is tried again later."""
    user: str = ""
    """For HTTP basic authentication."""
    password: Secret = Secret()
    """Its password, or a bearer token where there is no user."""
    tls: Tls = Tls()
    """Authorities to believe, and our own certificate where one is asked for."""


@dataclass(frozen=True)
class Page:
    """The status page."""

    host: str = "127.0.0.1"
    """Address to listen on; one beyond this machine needs a token and a certificate."""
    port: int = 11180
    """TCP port; 0 for no page."""
    token: Secret = Secret()
    """Asked for of everybody, where there is one."""
    tls: Tls = Tls()
    """With a certificate the page speaks HTTPS."""


@dataclass(frozen=True)
class NodeSettings:
    """All of a node."""

    folder: Path
    """Queue, images and results: on a local disk."""
    workers: int = 1
    """Cases at once."""
    threads: int = 0
    """Of each; the cores divided among the workers when 0."""
    attempts: int = 2
    """A case whose worker died so often is parked."""
    time_limit_s: float = 3600.0
    """Of one case."""
    memory_gb: float = 0.0
    """Most that one worker may take; no limit when 0."""
    nice: int = 10
    """How far workers stand back behind receiving and sending; 0 not at all."""
    quiet_s: float = 5.0
    """A study is looked at when nothing came for so long."""
    settle_s: float = 30.0
    """A series whose headers don't tell how many images there are is taken as whole when nothing came for so long."""
    deadline_s: float = 900.0
    """An incomplete series waits for more so long, then it is parked."""
    keep_days: float = 7.0
    """Images and results of what is done are deleted after so many days."""
    keep_free_gb: float = 2.0
    """Nothing more is accepted when the disk has less left."""
    max_stored_gb: float = 0.0
    """Nothing more is accepted when images and results take more; no limit when 0."""
    failure_page: bool = True
    """Send a page that says why there are no maps."""
    report: bool = True
    """Make the report, which the status page links to."""
    log: str = ""
    """File of the log; the error stream when empty."""
    audit: str = ""
    """File that notes who sent and got what, with study UIDs; none when empty."""
    maps: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the maps that are not the defaults, by their names in `ctp_torch.MapSettings`."""
    dicom: DicomDoor = DicomDoor()
    """The Storage SCP."""
    watch: tuple[Source, ...] = ()
    """Places to look for images."""
    send: tuple[Destination, ...] = ()
    """Where results go."""
    page: Page = Page()
    """The status page."""

    @property
    def formats(self) -> tuple[str, ...]:
        """All that some destination gets."""
        wanted = {name for one in self.send for name in one.formats}
        return tuple(name for name in FORMATS if name in wanted) or ("nifti",)

    def map_settings(self) -> MapSettings:
        """Of the maps.

        Raises
        ------
        OptionError
            for a setting that isn't there, or can't be meant
        """
        from ctp_torch.pipeline.analysis import MapSettings

        known = {one.name for one in fields(MapSettings)} - {"series", "keep_identity", "times", "dt", "mask"}
        if unknown := sorted(set(self.maps) - known):
            raise OptionError(f"[maps] knows no {', '.join(unknown)}; known: {', '.join(sorted(known))}")
        settings = MapSettings(**self.maps)
        settings.check()
        return settings
