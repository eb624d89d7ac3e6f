"""Every way to the outside, one adapter per port, and their in-memory twins."""
