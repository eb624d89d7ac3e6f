"""What we propose to an archive by DIMSE: presentation contexts, values of keys, certificates."""

import io
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import (
    CTImageStorage,
    EnhancedSRStorage,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    MRImageStorage,
    SegmentationStorage,
)

from fhir_bridge.adapters.dimse import Dimse, dimse_of
from fhir_bridge.adapters.dimse_association import ArchiveTls, Peer
from fhir_bridge.adapters.dimse_contexts import storage_contexts
from fhir_bridge.errors import Refused
from fhir_bridge.settings import load
from fhir_bridge.study import InstanceRef, StudyQuery
from tests.support.dimse_pacs import DimsePacs, dimse_pacs
from tests.support.studies import an_instance

_PRIVATE = "1.2.840.113619.4.30"  # a maker's own class


def pairs_of(*listed: InstanceRef) -> set[tuple[str, str]]:
    contexts = storage_contexts(listed)
    assert all(len(context.transfer_syntax) == 1 for context in contexts)
    return {(str(context.abstract_syntax), str(context.transfer_syntax[0])) for context in contexts}


def test_an_image_class_is_proposed_in_each_transfer_syntax_once() -> None:
    """One context with several syntaxes: Orthanc takes Explicit VR Little Endian only, and fails on the others (facts §3.4)."""
    pairs = pairs_of(InstanceRef("1.1", CTImageStorage), InstanceRef("1.2", CTImageStorage))
    assert (CTImageStorage, JPEG2000Lossless) in pairs
    assert len(pairs) == 16
    assert {name for name, _ in pairs} == {CTImageStorage}


def test_a_report_is_proposed_uncompressed_alone() -> None:
    assert len(pairs_of(InstanceRef("1.1", EnhancedSRStorage))) == 4


def test_a_class_without_a_name_may_hold_images() -> None:
    assert (_PRIVATE, JPEG2000Lossless) in pairs_of(InstanceRef("1.1", _PRIVATE))


def test_no_more_contexts_than_one_association_has_and_each_class_keeps_the_likely_syntaxes() -> None:
    """128 with that of C-GET itself (PS3.8 §9.3.2.2)."""
    classes = [f"{_PRIVATE}.{number}" for number in range(1, 13)]
    listed = [InstanceRef(f"1.{number}", name) for number, name in enumerate(classes)]
    assert len(storage_contexts(listed)) == 127
    assert {(name, str(ExplicitVRLittleEndian)) for name in classes} <= pairs_of(*listed)


@pytest.mark.parametrize("listed_class", ["", "no UID", "1.2.*"])
def test_where_the_class_is_not_said_those_usual_for_the_modality_are_proposed(listed_class: str) -> None:
    names = {name for name, _ in pairs_of(InstanceRef("1.1", listed_class, modality="MR"))}
    assert MRImageStorage in names
    assert CTImageStorage not in names
    assert SegmentationStorage in {name for name, _ in pairs_of(InstanceRef("1.1", listed_class, modality="SEG"))}


@pytest.mark.parametrize("accession", ["CANARYÄ1", "CANARY 1^2"])
def test_an_odd_accession_number_is_asked_for_as_it_is(accession: str) -> None:
    dataset = pydicom.dcmread(io.BytesIO(an_instance(accession="")))
    dataset.SpecificCharacterSet = "ISO_IR 192"
    file = io.BytesIO()
    dataset.save_as(file)
    with dimse_pacs(DimsePacs([file.getvalue()])) as pacs:
        assert Dimse(pacs.peer()).find_studies(StudyQuery(accession=accession)) == ()
    assert pacs.queries == [{"StudyInstanceUID": "", "AccessionNumber": accession}]


@pytest.mark.parametrize("named", ["ca_file", "client_certificate"])
@pytest.mark.parametrize("content", [None, "no PEM"])
def test_a_file_of_tls_that_cannot_be_used_is_named(tmp_path: Path, named: str, content: str | None) -> None:
    if content:
        (tmp_path / "file.pem").write_text(content)
    tls = ArchiveTls(**{named: tmp_path / "file.pem"})
    with pytest.raises(Refused) as refusal:
        Dimse(Peer("127.0.0.1", 1, "PACS", "FHIRBRIDGE", tls=tls)).ping()
    assert refusal.value.code == "archive.certificate-unusable"
    assert "archive.client_certificate" in refusal.value.where


def test_the_settings_say_who_is_asked_and_who_asks() -> None:
    given = ("kind=dimse", "host=pacs", "port=11104", "called_ae_title= PACS ", "timeout_seconds=7")
    settings = load(None, (*(f"archive.{assignment}" for assignment in given), "dicom.ae_title=OURS"))
    peer = dimse_of(settings.archive, settings.dicom.ae_title).peer
    assert peer == Peer("pacs", 11104, "PACS", "OURS", 7)
