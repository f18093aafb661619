"""Objects to an archive by C-STORE, and where it is asked for its word that it keeps them (storage commitment)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctp_torch.archive.queue import Queue
from ctp_torch.archive.receive import need_pynetdicom, note_commitment
from ctp_torch.archive.settings import Destination
from ctp_torch.archive.tls import client_context
from ctp_torch.errors import CTPError

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["SendError", "echo", "send"]

_PUSH, _PUSH_INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
_WARNINGS = range(0xB000, 0xC000)
"""Stored, with a remark."""


class SendError(CTPError):
    """Results didn't arrive; they will be sent again."""


def send(paths: Sequence[Path], destination: Destination, aet: str, queue: Queue, *, patience_s: float) -> None:
    """All objects over one association; when it returns the archive has them.

    Parameters
    ----------
    paths
        files of DICOM objects
    destination
        the archive
    aet
        what we call ourselves
    queue
        is told whose word we have
    patience_s
        how long to wait for a storage commitment

    Raises
    ------
    SendError
        when one wasn't taken; sending all again does no harm
    """
    from pydicom import dcmread

    objects = [(path, dcmread(path, stop_before_pixels=True)) for path in paths]
    contexts = {(str(one.SOPClassUID), str(one.file_meta.TransferSyntaxUID)) for _, one in objects}
    association = _call(destination, aet, sorted(contexts), queue)
    try:
        for path, _ in objects:
            try:
                answer = association.send_c_store(path)
            except (ValueError, RuntimeError, OSError) as error:
                raise SendError(f"{_name(destination)} doesn't take such an object: {error}") from error
            if "Status" not in answer:
                raise SendError(f"{_name(destination)} fell silent or broke off")
            if answer.Status != 0 and answer.Status not in _WARNINGS:
                raise SendError(f"{_name(destination)} answered 0x{answer.Status:04X} to C-STORE")
        if destination.commitment and objects:
            _commit([one for _, one in objects], association, destination, queue, patience_s)
    finally:
        if association.is_established:
            association.release()
        _hang_up(association)


def echo(destination: Destination, aet: str) -> None:
    """C-ECHO.

    Raises
    ------
    SendError
        when it isn't answered
    """
    association = _call(destination, aet, [("1.2.840.10008.1.1", "1.2.840.10008.1.2")], None)
    answer = association.send_c_echo()
    association.release()
    if answer.get("Status") != 0:
        raise SendError(f"{_name(destination)} doesn't answer C-ECHO")


def _call(destination: Destination, aet: str, contexts: Sequence[tuple[str, str]], queue: Queue | None) -> Any:
    """An association with the archive."""
    pynetdicom = need_pynetdicom()
    from pynetdicom import evt

    ae = pynetdicom.AE(ae_title=aet)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ae.connection_timeout = destination.timeout_s
    for kind, syntax in contexts:
        ae.add_requested_context(kind, syntax)
    if destination.commitment:
        ae.add_requested_context(_PUSH)

    def told(event: Any) -> tuple[int, None]:
        if queue is not None:
            note_commitment(queue, event.event_information, destination.aet)
        return 0x0000, None

    tls = (client_context(destination.tls), destination.host) if destination.tls else None
    association = ae.associate(
        destination.host, destination.port, ae_title=destination.aet, tls_args=tls,
        evt_handlers=[(evt.EVT_N_EVENT_REPORT, told)],
    )  # fmt: skip
    if not association.is_established:
        _hang_up(association)
        said = "refuses the association" if association.is_rejected else "can't be reached"
        raise SendError(f"{_name(destination)} {said}")
    return association


def _hang_up(association: Any) -> None:
    """Close what pynetdicom leaves open of a call that failed."""
    association.dul.join(5.0)
    connection = association.dul.socket
    if connection is not None and connection.socket is not None:
        connection.socket.close()


def _commit(
    objects: Sequence[Dataset], association: Any, destination: Destination, queue: Queue, patience_s: float
) -> None:
    """Ask the archive whether it keeps them, and wait for its word, here or at our own door."""
    from pydicom import Dataset
    from pydicom.uid import generate_uid

    if not any(context.abstract_syntax == _PUSH for context in association.accepted_contexts):
        return  # it isn't offered
    wanted = {str(one.SOPInstanceUID) for one in objects}
    question = Dataset()
    question.TransactionUID = generate_uid()
    question.ReferencedSOPSequence = []
    for one in objects:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = one.SOPClassUID, one.SOPInstanceUID
        question.ReferencedSOPSequence.append(item)
    answer, _ = association.send_n_action(question, 1, _PUSH, _PUSH_INSTANCE)
    if answer.get("Status") != 0:
        raise SendError(f"{_name(destination)} refuses storage commitment")
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        there = queue.rows("SELECT sop FROM committed WHERE destination=?", destination.aet)
        if wanted <= {row["sop"] for row in there}:
            return
        time.sleep(0.1)
    raise SendError(f"{_name(destination)} didn't answer the storage commitment within {patience_s:g} s")


def _name(destination: Destination) -> str:
    """The archive, in messages."""
    return destination.name or destination.kind
