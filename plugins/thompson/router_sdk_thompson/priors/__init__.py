"""What is believed before the log says anything."""
