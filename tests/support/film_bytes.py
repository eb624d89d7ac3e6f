"""The practice hospital's films, changed as a test wants them."""

import io
from typing import Any

from fhir_bridge.practice.film import wrap
from fhir_bridge.practice.story import Story


def film_of(story: Story, transfer_syntax: str = "", **attributes: Any) -> bytes:
    """The story's film as a DICOM file; `attributes` by keyword are set, or left out where None."""
    dataset = wrap(story)
    for keyword, value in attributes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    if transfer_syntax:
        dataset.file_meta.TransferSyntaxUID = transfer_syntax
        dataset["PixelData"].is_undefined_length = True
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()
