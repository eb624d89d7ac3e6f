"""The practice hospital of `demo`."""
