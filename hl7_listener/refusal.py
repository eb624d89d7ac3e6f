"""The one error of the listener: a message that cannot be read, with the place that is wrong."""


class MessageRefused(ValueError):
    """`code` is a stable slug, `where` an ERL-like location (`MSH-10`, `PID^1^3`). Neither carries a value of the message."""

    def __init__(self, code: str, where: str, explanation: str) -> None:
        super().__init__(f"{code} at {where}: {explanation}")
        self.code = code
        self.where = where
        self.explanation = explanation
