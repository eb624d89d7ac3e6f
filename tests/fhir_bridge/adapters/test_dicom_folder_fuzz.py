"""Damaged files never stop the archive folder: whatever bytes one holds, the others are found and fetched."""

import io
import random
import zipfile
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from fhir_bridge.adapters.dicom_folder import DicomFolder
from fhir_bridge.adapters.folder_description import describe
from tests.support.studies import A_STUDY, a_study, an_instance

NAMES = (
    "CT_small.dcm",
    "MR_small_implicit.dcm",
    "JPEG2000.dcm",
    "image_dfl.dcm",
    "test-SR.dcm",
    "DICOMDIR",
    "liver_1frame.dcm",
)
DAMAGED_FILES = 60


def originals() -> list[bytes]:
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(3):
            archive.writestr(f"d/{number}", an_instance(study_uid="1.2.3", number=number))
    files = (Path(get_testdata_file(name)).read_bytes() for name in NAMES)
    return [*files, zipped.getvalue(), an_instance(study_uid="1.2.4")[132:]]


def damaged(content: bytes, chance: random.Random) -> bytes:
    """A few bytes changed, most of them in the header; one in five is cut short, too."""
    changed = bytearray(content)
    for _ in range(chance.choice([1, 2, 5, 20])):
        at = chance.randrange(min(len(changed), chance.choice([200, 600, 3000, len(changed)])))
        changed[at] = chance.choice([0, 255, chance.randrange(256), changed[at] ^ 1 << chance.randrange(8)])
    return bytes(changed[: chance.randrange(len(changed))] if chance.random() < 0.2 else changed)


@pytest.mark.filterwarnings("ignore::UserWarning")  # of pydicom, about what it reads
@pytest.mark.parametrize("seed", range(5))
def test_files_with_damage_anywhere_hide_none_beside_them(tmp_path: Path, seed: int) -> None:
    chance, sources = random.Random(seed), originals()
    pacs = tmp_path / "pacs"
    a_study(pacs)
    for number in range(DAMAGED_FILES):
        (pacs / f"damaged{number}").write_bytes(damaged(chance.choice(sources), chance))
    archive = DicomFolder(pacs)
    assert len(archive.list_instances(A_STUDY)) == 3
    assert len(archive.retrieve(A_STUDY, tmp_path / "phi")) == 3
    assert describe(pacs).instances >= 3
