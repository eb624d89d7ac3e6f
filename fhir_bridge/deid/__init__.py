"""The boundary: what crosses it carries no identity."""
