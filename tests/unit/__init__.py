"""The core, file by file."""
