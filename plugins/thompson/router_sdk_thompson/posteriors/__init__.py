"""What is believed of the agents: one posterior to a room, with its saving."""
