"""What goes back for a block that held a batch (HL7 v2.5.1 §2.10.3.3)."""

import secrets
from datetime import datetime

from fhir_bridge.judgement import Taken
from fhir_bridge.senders import Senders
from hl7_listener.acknowledgement import acknowledge
from hl7_listener.batch import read_batch
from hl7_listener.batch_reply import replies


def batch_answers(
    taken: Taken, senders: Senders, *, application: str, facility: str, at: datetime
) -> tuple[bytes, ...]:
    """One batch of answers, an answer for each message, or a batch of the refusals alone, as the sender's rules say.

    `taken.parts` are the messages of the batch. Raises ValueError where `at` has no time zone.
    """
    batch = read_batch(taken.received.payload)
    rules = senders.rules_for(taken.received.listener, batch.header or taken.parts[0].received.header)
    answers = [
        (
            part.outcome,
            acknowledge(
                part.received.header,
                part.outcome,
                application=application,
                facility=facility,
                control_id=secrets.token_hex(10),
                at=at,
                message=part.received.payload,
            ),
        )
        for part in taken.parts
    ]
    return replies(
        batch,
        answers,
        rules.batch_answers,
        application=application,
        facility=facility,
        control_id=secrets.token_hex(10),
        at=at,
    )
