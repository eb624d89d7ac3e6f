"""Machine interfaces over HTTP: hooks, health, metrics."""
