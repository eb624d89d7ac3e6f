"""One folder per model package: manifest, card, weights, evidence."""
