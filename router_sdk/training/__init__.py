"""Fitting in the background: from a trigger over a candidate and the gate to what serves."""
