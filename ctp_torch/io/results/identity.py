"""Whose images they are: the patient and study elements that a result carries over from its source."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["anonymous_elements", "identity_elements", "identity_record"]

_NEEDED = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
"""Every object has them, empty where nobody knows (PS3.3 C.7.1.1, C.7.2.1)."""
_CARRIED = (
    # patient
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "TypeOfPatientID",
    "PatientBirthTime",
    "OtherPatientIDsSequence",
    "OtherPatientNames",
    "EthnicGroup",
    "PatientComments",
    "PatientSpeciesDescription",
    "PatientSpeciesCodeSequence",
    "PatientBreedDescription",
    "PatientBreedCodeSequence",
    "BreedRegistrationSequence",
    "ResponsiblePerson",
    "ResponsiblePersonRole",
    "ResponsibleOrganization",
    "QualityControlSubject",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    # study
    "StudyDescription",
    "IssuerOfAccessionNumberSequence",
    "ReferringPhysicianIdentificationSequence",
    "ConsultingPhysicianName",
    "PhysiciansOfRecord",
    "NameOfPhysiciansReadingStudy",
    "ReferencedStudySequence",
    "ProcedureCodeSequence",
    # patient at the time of the study
    "AdmittingDiagnosesDescription",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "MedicalAlerts",
    "Allergies",
    "PregnancyStatus",
    "AdditionalPatientHistory",
    "AdmissionID",
    "IssuerOfAdmissionIDSequence",
    "PatientSexNeutered",
    # clinical trial
    "ClinicalTrialSponsorName",
    "ClinicalTrialProtocolID",
    "ClinicalTrialProtocolName",
    "ClinicalTrialSiteID",
    "ClinicalTrialSiteName",
    "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID",
    "ClinicalTrialTimePointID",
    "ClinicalTrialTimePointDescription",
    "TimezoneOffsetFromUTC",
)
"""Taken where they are told."""
_RECORDED = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyDate", "StudyID")


def identity_elements(header: Dataset) -> Dataset:
    """Patient and study elements of an image, its text as Unicode whatever the character set of the image.

    Parameters
    ----------
    header
        of any image of the study; values are carried as they are, also where they break a rule of the standard
    """
    import warnings

    from pydicom import Dataset
    from pydicom.datadict import tag_for_keyword

    elements = Dataset()
    elements.SpecificCharacterSet = "ISO_IR 192"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a broken value of the source is the source's
        for keyword in (*_NEEDED, *_CARRIED):
            tag = tag_for_keyword(keyword)
            if tag is not None and tag in header:
                element = header[tag]
                if element.VR == "SQ":
                    _decode(element.value)
                if keyword in _NEEDED or not element.is_empty:
                    elements.add(element)
        for keyword in _NEEDED:
            if keyword not in elements:
                setattr(elements, keyword, "")
    return elements


def anonymous_elements(study_uid: str, patient: str) -> Dataset:
    """Patient and study elements of data that tell no patient."""
    from pydicom import Dataset

    elements = Dataset()
    elements.SpecificCharacterSet = "ISO_IR 192"
    for keyword in _NEEDED:
        setattr(elements, keyword, "")
    elements.PatientName = "Anonymous"
    elements.PatientID = patient
    elements.PatientIdentityRemoved = "YES"
    elements.DeidentificationMethod = "The source tells no patient"
    elements.StudyInstanceUID = study_uid
    return elements


def identity_record(elements: Dataset) -> dict[str, str]:
    """The patient in words, for a record whose owner asked for it."""
    return {keyword: str(elements[keyword].value) for keyword in _RECORDED if elements.get(keyword)}


def _decode(items: list[Dataset]) -> None:
    """Turn the text of nested items into Unicode; their own character set is then of no use."""
    for item in items:
        for element in item:  # reading an element decodes it
            if element.VR == "SQ":
                _decode(element.value)
        item.pop("SpecificCharacterSet", None)
