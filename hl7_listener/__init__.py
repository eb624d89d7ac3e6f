"""HL7 v2 over MLLP: frames and acknowledgements, not meaning.

    bytes ── framing ──> message ── header ──> acceptor (the composer's: store, decide) ── acknowledgement ──> bytes
             Decoder                read_header          Received -> Future[Outcome]       acknowledge

`server.MllpServer` does this for many feeds and connections: a `listener` with its `policy` admits peers (`admission`, `tls`), a
`connection` reads and writes, its `conversation` keeps the order of messages and answers (`answering`), `memory` bounds what they
hold, `wakeup` brings outcomes from other threads, `traffic` counts. `client.MllpClient` is the other end.

`message.Message` reads the rest of a message, lazily and without loss (`reading`: `charset`, `charset_switches`, `delimiters`,
`escapes`); `batch` takes a file of messages apart, `batch_reply` answers it. An `outcome` becomes bytes in `acknowledgement`
(`error_segment`, `order_response`, `version`), after `modes` has said whether the sender wants to hear it, and when.
"""
