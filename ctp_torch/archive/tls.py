"""Encrypted doors: TLS 1.2 and later with forward secrecy, as the BCP 195 profiles of DICOM ask for (PS3.15 B.9)."""

from __future__ import annotations

import ssl

from ctp_torch.archive.settings import Tls
from ctp_torch.errors import OptionError

__all__ = ["client_context", "server_context"]

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:!aNULL:!eNULL"
"""Of TLS 1.2; those of TLS 1.3 are all of that kind."""


def server_context(tls: Tls) -> ssl.SSLContext:
    """For a door; with authorities, a peer without a certificate of theirs is refused.

    Raises
    ------
    OptionError
        when a file can't be read or is none
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    return _filled(context, tls, ask=bool(tls.authorities))


def client_context(tls: Tls) -> ssl.SSLContext:
    """For a call: the other side must show a certificate of the authorities, or of those the system believes.

    Raises
    ------
    OptionError
        when a file can't be read or is none
    """
    context = ssl.create_default_context()
    return _filled(context, tls, ask=True)


def _filled(context: ssl.SSLContext, tls: Tls, *, ask: bool) -> ssl.SSLContext:
    """The context with its certificates and ciphers."""
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    try:
        if tls.certificate:
            context.load_cert_chain(tls.certificate, tls.key or None)
        if tls.authorities:
            context.load_verify_locations(tls.authorities)
    except (OSError, ValueError) as error:
        raise OptionError(f"the certificates {tls.certificate} {tls.authorities} can't be used: {error}") from error
    context.verify_mode = ssl.CERT_REQUIRED if ask else ssl.CERT_NONE
    return context
