"""A folder of de-identified images into numbers. Knows no patient, order or wire."""
