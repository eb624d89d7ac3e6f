"""Measures of image quality and the gate they feed."""
