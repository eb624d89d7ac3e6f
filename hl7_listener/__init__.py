"""HL7 v2 over MLLP: frames and acknowledgements, not meaning."""
