"""A golden log: 2,000 events, and what the router decided on them."""
