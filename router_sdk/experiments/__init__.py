"""Live experiments: whole routers beside each other on real tasks, until one of them is shown to be better."""
