"""The fold over the log: what is learnt in the background, and how it survives a restart."""
