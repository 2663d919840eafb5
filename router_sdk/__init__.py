"""Decides which agent gets which task, and gets better at it from what happened."""
