"""The one error of the mappings: an input that can never be mapped, with the place that is wrong."""


class MappingRefused(ValueError):
    """A value cannot be mapped. `code` is a stable slug, `where` names the field (`PID-3`, `ServiceRequest.subject`).

    Neither carries a value of the message: both may be logged and sent back to the sender.
    """

    def __init__(self, code: str, where: str, explanation: str) -> None:
        super().__init__(f"{code} at {where}: {explanation}")
        self.code = code
        self.where = where
        self.explanation = explanation
