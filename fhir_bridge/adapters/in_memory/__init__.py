"""In-memory twins of the adapters: they pass the same contract tests and serve the tests of everything above."""
