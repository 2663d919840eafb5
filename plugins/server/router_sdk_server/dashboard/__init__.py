"""The page that people keep open: its files, the figures that all its viewers share, and their three answers."""
