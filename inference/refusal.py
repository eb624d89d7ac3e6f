"""The one error of the inference package: an input this model must not answer for."""


class InferenceRefused(ValueError):
    """`code` is a stable slug (`scope.age`, `quality.contrast`, `dicom.not-deidentified`), `where` names the file or attribute."""

    def __init__(self, code: str, where: str, explanation: str) -> None:
        super().__init__(f"{code} at {where}: {explanation}")
        self.code = code
        self.where = where
        self.explanation = explanation
