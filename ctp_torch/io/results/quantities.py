"""The codes of a map: its quantity, its unit, and the method that made it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ctp_torch.data.maps import named_quantity
from ctp_torch.io.results.derivation import Code
from ctp_torch.io.results.objects import code_item

if TYPE_CHECKING:
    from pydicom import Dataset

    from ctp_torch.io.results.derivation import Derivation

__all__ = ["quantity_code", "quantity_definition", "unit_code"]

_QUANTITY = Code("246205007", "SCT", "Quantity")
_METHOD = Code("370129005", "SCT", "Measurement Method")


def quantity_code(name: str) -> Code:
    """What a map measures (CID 4108, 7180; our own scheme for what these lack)."""
    value, meaning = named_quantity(name).code
    return Code(value, named_quantity(name).scheme, meaning)


def unit_code(name: str) -> Code:
    """The unit of a map (CID 7181, UCUM)."""
    ucum = named_quantity(name).ucum
    return Code(ucum, "UCUM", ucum)


def quantity_definition(name: str, derivation: Derivation) -> list[Dataset]:
    """The items of a Quantity Definition Sequence: the quantity, and the method where it has a code."""
    items = [_coded(_QUANTITY, quantity_code(name))]
    return [*items, _coded(_METHOD, derivation.code)] if derivation.code else items


def _coded(concept: Code, value: Code) -> Dataset:
    """A name with a coded value."""
    from pydicom import Dataset

    item = Dataset()
    item.ValueType = "CODE"
    item.ConceptNameCodeSequence = [code_item(concept)]
    item.ConceptCodeSequence = [code_item(value)]
    return item
