"""Free text of headers as terms: words that everybody knows, and a hash for any other, which may name a person."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

__all__ = [
    "image_type_term",
    "kernel_term",
    "modality_term",
    "model_term",
    "photometric_term",
    "scale_term",
    "uid_term",
    "vendor_term",
]


def _words(text: str) -> frozenset[str]:
    """The words of a list."""
    return frozenset(text.split())


_VENDORS = re.compile(
    r"(?i)\b(Siemens|GE|Philips|Canon|Toshiba|Hitachi|Fujifilm|Neusoft|United Imaging|UIH|Samsung|NeuroLogica|Shimadzu"
    r"|Elscint|Picker|Marconi|Imatron|Minfound|Anke|SinoVision|ctp_torch)\b"
)
_MODELS = _words(
    """somatom naeotom biograph symbia definition sensation emotion spirit scope perspective confidence alpha peak pro
    flash edge edge+ as as+ force drive go.top go.up go.now go.all go.sim x.cite x.ceed pro.pulse on.site volume zoom
    access plus open horizon mct vision lightspeed brightspeed optima discovery revolution hispeed nxi vct ultra rt
    select ace apex hd maxima ascend frontier evo ct ct520 ct540 ct580 ct590 ct660 ct680 ct750 brilliance ict ingenuity
    iqon spectral incisive mx8000 idt core core128 elite big bore gemini tf vereos precedence aquilion one prime
    lightning start genesis vivid insight precision serve exceed lb asteion activion cartesion supria scenaria eclos
    neuviz glory epoch extra essence uct atlas omnitom ceretom bodytom digital phantom"""
)
_KERNEL = re.compile(r"[BHSTUIQ][a-z]{0,2}\d{2}[a-z]?|FC\d{2}(-H)?|[1-9I]|[A-F]|[UYX][A-E]|L|EA|EB|EC")
_KERNELS = _words(
    "STANDARD STND SOFT SMOOTH DETAIL BONE BONEPLUS LUNG EDGE CHEST CHST ULTRA BRAIN HEAD SHARP MEDIUM NORMAL NONE"
)
_TYPES = _words(
    """ORIGINAL DERIVED MIXED PRIMARY SECONDARY AXIAL LOCALIZER VOLUME PERFUSION OTHER NONE REFORMATTED MPR MIP MINIP
    AVERAGE PROJECTION IMAGE SCREEN SAVE CAPTURE RGB COLOR MONO OVERLAY REPORT FUSED SUBTRACTION ANGIO DYNAMIC CBF CBV
    MTT TTP TMAX RCBF RCBV RMTT PBF PBV CT_SOM5 CT_SOM7 CT_SOM8 SEQ SPI TOP TIP PARALLEL CSA CSAPARALLEL ADDITION
    DIVISION MASKED MAXIMUM MEAN MINIMUM MONOENERGETIC VMI MAT_SPECIFIC MAT_REMOVED MAT_MODIFIED
    MAT_FRACTIONAL MAT_VALUE_BASED EFF_ATOMIC_NUM ELECTRON_DENSITY ENERGY_PROP_WT RESAMPLED FILTERED QUANTITY
    SUM MEDIAN"""
)
_UNIT = re.compile(r"(?i)\d{0,4}(%|[numk]?g|mmol|ev|kev|1)(/(100)?[cdm]?(m3|m|l|g|c3|cc))?")
_SCALES = _words("HU US OD MGML Z_EFF ED EDW HU_MOD PCT MG/ML")
_MODALITIES = _words(
    """AU BI CR CT CTPROTOCOL DG DOC DX ECG ES FID GM IO IVUS KER KO LS MG MR NM OCT OP OT PLAN PR PT PX REG RF RG
    RTDOSE RTIMAGE RTPLAN RTSTRUCT RWV SC SEG SM SR TG US XA XC"""
)
_PHOTOMETRICS = _words(
    """MONOCHROME1 MONOCHROME2 PALETTE COLOR RGB HSV ARGB CMYK YBR_FULL YBR_FULL_422 YBR_PARTIAL_420 YBR_PARTIAL_422
    YBR_ICT YBR_RCT XYB"""
)


def vendor_term(text: str) -> str:
    """The maker of a scanner, by the known name that its text holds."""
    match = _VENDORS.search(text)
    return match[0] if match else _hash(text)


def model_term(text: str) -> str:
    """The known words of a scanner's model and numbers of up to 3 digits; a hash of the whole where there is more."""
    words = text.split()
    known = [word for word in words if word.lower() in _MODELS or re.fullmatch(r"\d{1,3}", word)]
    return " ".join(known if len(known) == len(words) else [*known, _hash(text)])


def kernel_term(text: str) -> str:
    """A convolution kernel by the vendors' names; parts that are none as a hash, so that kernels stay apart."""
    return "/".join(part if _KERNEL.fullmatch(part) else _term(part, _KERNELS) for part in text.split("/"))


def image_type_term(words: Iterable[str]) -> str:
    """The values of Image Type that are terms of DICOM or of vendors, the others as hashes."""
    return "/".join(_term(word, _TYPES) for word in words)


def modality_term(text: str) -> str:
    """A modality that DICOM defines; else a hash."""
    return _term(text, _MODALITIES)


def photometric_term(text: str) -> str:
    """A photometric interpretation that DICOM defines; else hashes."""
    return " ".join(_term(word, _PHOTOMETRICS) for word in text.split())


def scale_term(text: str) -> str:
    """A Rescale Type that DICOM defines (PS3.3 C.11.1.1.2), or one written as a unit; else a hash."""
    text = text.strip()
    return text if _UNIT.fullmatch(text) else _term(text.upper(), _SCALES)


def uid_term(uid: str) -> str:
    """A class or transfer syntax in words; one that DICOM doesn't define as a hash."""
    from pydicom.config import IGNORE
    from pydicom.uid import UID

    name = UID(uid, validation_mode=IGNORE).name  # itself, where it is unknown
    return name if name != uid else _hash(uid)


def _term(word: str, terms: frozenset[str]) -> str:
    """A term, or the hash of what is none."""
    return word if word in terms else _hash(word)


def _hash(text: str) -> str:
    """A short hash in place of a text, which tells texts apart."""
    return f"#{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:8]}" if text else ""
