"""HL7 v2 over MLLP: frames and acknowledgements, not meaning.

    bytes ── framing ──> message ── header ──> acceptor (the composer's: store, decide) ── acknowledgement ──> bytes
             Decoder                read_header          Received -> Future[Outcome]       acknowledge

`server.MllpServer` does this for many connections (`listener`, `connection`, `policy`, `traffic`), `client.MllpClient` is the other
end. `message.Message` reads the rest of a message (`delimiters`, `charset`, `escapes`), lazily and without loss.
"""
