"""Unique identifiers that depend on names alone: the same words give the same UID."""

from __future__ import annotations

import uuid

__all__ = ["make_uid"]

_NAMESPACE = uuid.UUID("6ba7b812-9dad-11d1-80b4-00c04fd430c8")  # RFC 4122's name space for object identifiers


def make_uid(*words: object) -> str:
    """A DICOM UID under the root 2.25 (an RFC 4122 name-based UUID), the same for the same words.

    Parameters
    ----------
    words
        what is being named, from the general to the special: seed, patient, series, image ...

    References
    ----------
    DICOM PS3.5 B.2, UUID derived UID.
    """
    return f"2.25.{uuid.uuid5(_NAMESPACE, chr(31).join(map(str, words))).int}"
