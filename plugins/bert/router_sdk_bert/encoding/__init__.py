"""Texts to vectors: finding weights, exporting them once, and serving them without torch."""
