"""Examples in and out: files, labelled data, and a view of the newest."""
