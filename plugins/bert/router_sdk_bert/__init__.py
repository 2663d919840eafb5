"""A transformer that learns from every outcome, and fine-tunes itself while it serves."""
