"""How a task becomes numbers."""
