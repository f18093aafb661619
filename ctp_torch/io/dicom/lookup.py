"""One way to ask a DICOM image for a value, classic or multi-frame; what is no number is kept to be shown."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, overload

from ctp_torch.io.limits import dicom_damage

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["Lookup", "as_number", "reread", "shown", "uid_name"]

_TEXT = {"CS", "DA", "DS", "DT", "IS", "LO", "SH", "TM", "UI"}
"""Value representations of one line, several values parted by backslashes."""
_SHOWN = 24
"""Characters shown of what is no number."""


class _Part:
    """A data set with its elements as they stand in the file, by tag."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.elements: dict[int, Any] = {int(tag): element for tag, element in dataset.items()}
        self.groups = {tag >> 16 for tag in self.elements}


class Lookup:
    """The attributes of one image: those of its frame first, then those shared, then the file's own.

    Parameters
    ----------
    parts
        the data sets to ask, in that order
    """

    def __init__(self, parts: Sequence[Dataset | _Part]) -> None:
        self._parts = [part if isinstance(part, _Part) else _Part(part) for part in parts]
        self.unreadable: dict[str, str] = {}
        """Attributes asked for whose values are there and can't be read, with what stands there."""

    @classmethod
    def frames(cls, dataset: Dataset) -> list[Lookup]:
        """A lookup for each frame of an enhanced or legacy converted image, functional groups merged."""
        shared = [part for item in dataset.get("SharedFunctionalGroupsSequence") or [] for part in _items(item)]
        common = [_Part(part) for part in (*shared, dataset)]  # once for all frames
        return [cls([*_items(item), *common]) for item in dataset.PerFrameFunctionalGroupsSequence]

    def value(self, keyword: str) -> Any:
        """The value of an attribute; None when it is absent, empty or not readable."""
        tag, vr = _tag(keyword)
        for part in self._parts:
            raw = part.elements.get(tag)
            if raw is None:
                continue
            try:
                value = _quick(part.dataset, raw, vr)
            except dicom_damage():
                continue
            if value is not None and value != "" and not (hasattr(value, "__len__") and len(value) == 0):
                return value
        return None

    def private(self, group: int, creator: str, offset: int) -> Any:
        """The value of a private element, wherever its creator reserved the block."""
        for part in self._parts:
            if group not in part.groups:
                continue
            try:
                return part.dataset.private_block(group, creator)[offset].value
            except dicom_damage():
                continue
        return None

    def text(self, keyword: str) -> str:
        """The attribute as one line of text, empty when absent."""
        value = self.value(keyword)
        return "" if value is None else _text(value)

    def texts(self, keyword: str) -> tuple[str, ...]:
        """The attribute as several words."""
        value = self.value(keyword)
        if value is None:
            return ()
        return (value,) if isinstance(value, str) else tuple(str(v).strip() for v in value)

    def numbers(self, keyword: str, count: int) -> tuple[float, ...] | None:
        """The attribute as ``count`` finite numbers, commas for points or backslashes understood; else None."""
        value = self.value(keyword)
        if value is None:
            return None
        values = [value] if isinstance(value, (str, bytes, int, float)) else list(value)
        numbers: tuple[float | None, ...] = tuple(map(as_number, values))
        if len(numbers) != count or None in numbers:
            text = "\\".join(_text(v) for v in values)
            numbers = tuple(reread(text, count))
            if not numbers:
                self.unreadable[keyword] = shown(text)
                return None
        return numbers  # type: ignore[return-value]  # none of them is None

    def number(self, keyword: str) -> float | None:
        """The attribute as a finite number."""
        value = self.value(keyword)
        if value is None:
            return None
        number = as_number(value) if isinstance(value, (str, int, float)) else None
        if number is not None:
            return number
        numbers = self.numbers(keyword, 1)
        return None if numbers is None else numbers[0]

    def positive(self, keyword: str) -> float | None:
        """The attribute as a finite number above 0."""
        number = self.number(keyword)
        return number if number is not None and number > 0 else None

    @overload
    def integer(self, keyword: str) -> int | None: ...
    @overload
    def integer(self, keyword: str, default: int) -> int: ...
    @overload
    def integer(self, keyword: str, default: int | None) -> int | None: ...
    def integer(self, keyword: str, default: int | None = None) -> int | None:
        """The attribute as a whole number."""
        number = self.number(keyword)
        return default if number is None else int(number)


def uid_name(uid: str) -> str:
    """What a UID stands for, or the UID itself, whatever is in it."""
    from pydicom.config import IGNORE
    from pydicom.uid import UID

    return str(UID(uid, validation_mode=IGNORE).name)


@cache
def _tag(keyword: str) -> tuple[int, str]:
    """Tag and value representation of an attribute."""
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    return tag, dictionary_VR(tag)


def _quick(dataset: Dataset, raw: Any, vr: str) -> Any:
    """The value of an element; plain text and short integers are taken as they stand, which spares pydicom's work."""
    text = raw.value
    if isinstance(text, bytes):  # not converted yet
        if (raw.VR or vr) in _TEXT and text.isascii():
            words = text.decode("ascii").rstrip("\0 ")
            return words.split("\\") if "\\" in words else words.strip()
        if raw.VR in ("US", "SS") and len(text) == 2:
            return int.from_bytes(text, "little" if raw.is_little_endian else "big", signed=raw.VR == "SS")
    return dataset[raw.tag].value


def as_number(value: Any) -> float | None:
    """A finite float, or None."""
    if isinstance(value, bytes):
        value = value.decode("ascii", "ignore").strip("\0 ")
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _text(value: Any) -> str:
    """A value as text, whatever representation it was written under."""
    return value.decode("ascii", "replace").strip("\0 ") if isinstance(value, bytes) else str(value).strip()


def shown(text: str) -> str:
    """What stands in place of a number or a time, short and printable."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:_SHOWN])


def reread(text: str, count: int) -> list[float | None]:
    """``count`` numbers from a text that isn't as DICOM writes them; empty where it could mean several things.

    A comma may stand for the point or for the backslash between two numbers, a value may be repeated. Two whole numbers
    with a comma between, where two are asked for, may as well be one decimal number: they are not read.
    """
    words = [word.strip() for word in text.split("\\")]
    if len(words) == 1 and count > 1:
        words = [word for word in re.split(r"[,;\s]+", text) if word]
        if len(words) == 2 * count and "." not in text:
            words = [f"{whole}.{part}" for whole, part in zip(words[::2], words[1::2], strict=True)]
        elif count == 2 and "." not in text:
            return []
    numbers = [
        as_number(word.replace(",", ".") if word.count(",") == 1 and "." not in word else word) for word in words
    ]
    if count == 1 and len(set(numbers)) == 1:
        numbers = numbers[:1]
    return numbers if len(numbers) == count and None not in numbers else []


def _items(groups: Dataset) -> list[Dataset]:
    """The first item of each functional group."""
    return [element.value[0] for element in groups if element.VR == "SQ" and element.value]
