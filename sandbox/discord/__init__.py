"""A thin wire over a model of Discord."""
