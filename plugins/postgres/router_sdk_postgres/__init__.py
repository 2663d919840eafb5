"""PostgreSQL keeps the log of router-sdk: one router on many machines."""
