"""Known terms pass; any other text of a header becomes a hash."""

import re

import pytest

from ctp_torch.io.dicom import terms


@pytest.mark.parametrize(
    ("term", "text", "wanted"),
    [
        (terms.vendor_term, "SIEMENS", "SIEMENS"),
        (terms.vendor_term, "GE MEDICAL SYSTEMS", "GE"),
        (terms.vendor_term, "Philips, room of DOE", "Philips"),
        (terms.vendor_term, "", ""),
        (terms.model_term, "SOMATOM Definition AS+", "SOMATOM Definition AS+"),
        (terms.model_term, "Sensation 64", "Sensation 64"),
        (terms.kernel_term, "H31s", "H31s"),
        (terms.kernel_term, "Hr40f/3", "Hr40f/3"),
        (terms.kernel_term, "FC41", "FC41"),
        (terms.kernel_term, "UB", "UB"),
        (terms.modality_term, "CT", "CT"),
        (terms.photometric_term, "PALETTE COLOR", "PALETTE COLOR"),
        (terms.uid_term, "1.2.840.10008.5.1.4.1.1.4", "MR Image Storage"),
        (lambda text: terms.image_type_term(text.split()), "DERIVED SECONDARY MPR", "DERIVED/SECONDARY/MPR"),
    ],
)
def test_a_known_term_passes(term, text, wanted):
    assert term(text) == wanted


@pytest.mark.parametrize(
    "term",
    [
        terms.vendor_term,
        terms.model_term,
        terms.kernel_term,
        terms.modality_term,
        terms.photometric_term,
        terms.uid_term,
        lambda text: terms.image_type_term([text]),
    ],
)
@pytest.mark.parametrize("text", ["DOE^JOHN", "Dörte", "19470311", "1.2.3.4711", "JD47", "\udcff"])
def test_any_other_text_is_a_hash_that_tells_texts_apart(term, text):
    """Mutation seen red: the text passed where it holds a digit."""
    assert re.fullmatch("#[0-9a-f]{8}", term(text))
    assert term(text) == term(text) != term(text + "X")


def test_a_model_keeps_its_known_words():
    assert re.fullmatch(r"SOMATOM #[0-9a-f]{8}", terms.model_term("SOMATOM Doe"))
