"""One request: who is eligible, who proposes, what is drawn."""
