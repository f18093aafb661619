"""The Storage SCP: takes images of listed peers, answers for them once they are on disk, says no in DICOM's words."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctp_torch.archive.bounded import serve
from ctp_torch.archive.headers import CT_CLASSES
from ctp_torch.archive.journal import Journal, digest
from ctp_torch.archive.queue import Queue
from ctp_torch.archive.settings import DicomDoor, Peer
from ctp_torch.archive.store import FullError, Store
from ctp_torch.archive.tls import client_context, server_context
from ctp_torch.errors import CTPError

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["STATUS", "SYNTAXES", "listen"]

STATUS = {"stored": 0x0000, "full": 0xA700, "not ours": 0xA900, "broken": 0xC000}
"""Answers to C-STORE (PS3.4 B.2.3): success, out of resources, data set doesn't match, cannot understand."""
SYNTAXES = (
    "1.2.840.10008.1.2.1",  # Explicit VR Little Endian
    "1.2.840.10008.1.2",  # Implicit VR Little Endian
    "1.2.840.10008.1.2.2",  # Explicit VR Big Endian
    "1.2.840.10008.1.2.1.99",  # Deflated Explicit VR Little Endian
    "1.2.840.10008.1.2.5",  # RLE Lossless
    "1.2.840.10008.1.2.4.70",  # JPEG Lossless, first-order prediction
    "1.2.840.10008.1.2.4.57",  # JPEG Lossless
    "1.2.840.10008.1.2.4.80",  # JPEG-LS Lossless
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 Lossless
    "1.2.840.10008.1.2.4.50",  # JPEG Baseline
    "1.2.840.10008.1.2.4.51",  # JPEG Extended
    "1.2.840.10008.1.2.4.81",  # JPEG-LS Near-lossless
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
)
"""Transfer syntaxes taken, those best liked first."""
_PUSH, _PUSH_INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
"""Storage Commitment Push Model, and its well-known instance."""
_NO_SUCH = 0x0112
"""Failure reason: no such object instance."""
_AFTER_S = 0.5
"""A commitment follows the answer to its question so late: some peers lose an answer that it overtakes."""
_CALLING_UNKNOWN = (0x01, 0x01, 0x03)
"""Rejected permanently, by the service user: calling AE title not recognized (PS3.8 9.3.4)."""


def listen(door: DicomDoor, store: Store, journal: Journal) -> Any:
    """The door, open until its ``shutdown``.

    Parameters
    ----------
    door
        where, for whom, and the limits
    store
        takes the images
    journal
        is told of associations and refusals

    Raises
    ------
    CTPError
        when pynetdicom isn't installed
    OSError
        when the port is taken
    """
    pynetdicom = need_pynetdicom()
    from pynetdicom import evt

    pynetdicom._config.STORE_RECV_CHUNKED_DATASET = True  # to disk as it comes, whatever its size
    tempfile.tempdir = str(store.parts)  # on the disk where it is to lie
    ae = pynetdicom.AE(ae_title=door.aet)
    ae.require_called_aet = True
    ae.maximum_associations, ae.maximum_pdu_size = door.max_associations, door.max_pdu
    ae.network_timeout = ae.acse_timeout = ae.dimse_timeout = door.timeout_s
    for uid in CT_CLASSES:
        ae.add_supported_context(uid, list(SYNTAXES))
    ae.add_supported_context("1.2.840.10008.1.1")  # Verification
    ae.add_supported_context(_PUSH, scu_role=True, scp_role=True)
    ears = _Ears(door, store, journal)
    handlers = [
        (evt.EVT_REQUESTED, ears.requested),
        (evt.EVT_C_STORE, ears.stored),
        (evt.EVT_N_ACTION, ears.asked_to_commit),
        (evt.EVT_N_EVENT_REPORT, ears.told_of_commitment),
    ]
    context = server_context(door.tls) if door.tls.certificate else None
    return serve(ae, door, handlers, context=context)


def need_pynetdicom() -> Any:
    """The package that speaks DICOM over a network.

    Raises
    ------
    CTPError
        when it isn't installed, with the command that installs it
    """
    try:
        import pynetdicom
    except ImportError as error:
        raise CTPError('a DICOM node needs pynetdicom: pip install "ctp-torch[archive]"') from error
    return pynetdicom


class _Ears:
    """What is done when a peer says something."""

    def __init__(self, door: DicomDoor, store: Store, journal: Journal) -> None:
        self.door, self.store, self.journal, self.queue = door, store, journal, store.queue

    def requested(self, event: Any) -> None:
        """An association is asked for: refused where the peer isn't listed."""
        requestor = event.assoc.requestor
        if peer_of(self.door.peers, requestor.primitive.calling_ae_title, requestor.address) is None:
            event.assoc.acse.send_reject(*_CALLING_UNKNOWN)
            event.assoc.is_rejected = True
            event.assoc.kill()
            self.queue.count("associations refused")
            self.journal.say("association refused", level="warning", reason="calling AE title not listed")

    def stored(self, event: Any) -> int:
        """An object came: it is answered for when it is on disk and in the queue."""
        path = Path(event.dataset_path)
        event.request._dataset_file.close()
        try:
            kept = self.store.keep(path)
        except FullError:
            self.queue.count("objects refused, no room")
            self.journal.say("object refused", level="error", reason="no room")
            return STATUS["full"]
        except CTPError:
            self.queue.count("objects refused, broken")
            self.journal.say("object refused", level="warning", reason="broken")
            return STATUS["broken"]
        except OSError as error:
            self.journal.say("object refused", level="error", reason=error.strerror or "disk")
            return STATUS["full"]
        if kept.image.sop != str(event.request.AffectedSOPInstanceUID):
            self.journal.say("object named otherwise than its header", level="warning", study=digest(kept.image.study))
        self.queue.count(f"objects received, {kept.what}")
        if kept.what == "new":
            self.journal.note("received", study=kept.image.study, who=_who(event.assoc))
        return STATUS["not ours"] if kept.what == "other" else STATUS["stored"]

    def asked_to_commit(self, event: Any) -> tuple[int, None]:
        """Storage commitment is asked for: the answer follows, over an association of its own where we may call."""
        wanted = event.action_information
        peer = peer_of(self.door.peers, event.assoc.requestor.ae_title, event.assoc.requestor.address)
        answer, kind = _answer(wanted, self.queue)
        port = peer.port if peer else 0
        arguments = (event.assoc, event.assoc.requestor.address, port, answer, kind)
        timer = threading.Timer(_AFTER_S, self._commit, arguments)
        timer.daemon = True
        timer.start()
        return 0x0000, None

    def _commit(self, association: Any, address: str, port: int, answer: Dataset, kind: int) -> None:
        """Send what we answer for."""
        if not port:
            if association.is_established:
                association.send_n_event_report(answer, kind, _PUSH, _PUSH_INSTANCE)
            return
        from pynetdicom import AE, build_role

        ae = AE(ae_title=self.door.aet)
        ae.add_requested_context(_PUSH)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = self.door.timeout_s
        roles = [build_role(_PUSH, scp_role=True)]
        tls = (client_context(self.door.tls), address) if self.door.tls.authorities else None
        call = ae.associate(address, port, ae_title=association.requestor.ae_title, ext_neg=roles, tls_args=tls)
        if call.is_established:
            call.send_n_event_report(answer, kind, _PUSH, _PUSH_INSTANCE)
            call.release()
        else:
            self.journal.say("storage commitment couldn't be answered", level="warning")

    def told_of_commitment(self, event: Any) -> tuple[int, None]:
        """An archive answers for results that we sent."""
        report = event.event_information
        self._note_commitment(report, str(event.assoc.requestor.ae_title))
        return 0x0000, None

    def _note_commitment(self, report: Dataset, aet: str) -> None:
        note_commitment(self.queue, report, aet)


def note_commitment(queue: Queue, report: Dataset, aet: str) -> None:
    """Remember the objects that an archive answers for."""
    sops = [str(item.ReferencedSOPInstanceUID) for item in report.get("ReferencedSOPSequence") or ()]
    with queue.change() as db:
        db.executemany("INSERT OR IGNORE INTO committed VALUES(?, ?)", [(sop, aet) for sop in sops])


def peer_of(peers: Sequence[Peer], aet: str, address: str) -> Peer | None:
    """The listed peer that calls itself so and comes from there; where none are listed, anybody."""
    if not peers:
        return Peer(aet.strip())
    fitting = (one for one in peers if one.aet == aet.strip() and one.address in ("", address))
    return next(fitting, None)


def _answer(wanted: Dataset, queue: Queue) -> tuple[Dataset, int]:
    """Which of the objects are here, and the type of the event: 1 when all are, 2 otherwise."""
    from pydicom import Dataset

    answer, lost = Dataset(), []
    answer.TransactionUID = wanted.TransactionUID
    answer.ReferencedSOPSequence = []
    for item in wanted.get("ReferencedSOPSequence") or ():
        one = Dataset()
        one.ReferencedSOPClassUID = item.ReferencedSOPClassUID
        one.ReferencedSOPInstanceUID = item.ReferencedSOPInstanceUID
        if queue.has(str(item.ReferencedSOPInstanceUID)):
            answer.ReferencedSOPSequence.append(one)
        else:
            one.FailureReason = _NO_SUCH
            lost.append(one)
    if lost:
        answer.FailedSOPSequence = lost
    return answer, 2 if lost else 1


def _who(association: Any) -> str:
    """A peer, for the audit."""
    return f"{association.requestor.ae_title}@{association.requestor.address}"
