"""What is wanted besides quality: cheapness, speed, and budgets that hold."""
