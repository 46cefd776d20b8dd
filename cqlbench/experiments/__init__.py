"""A run from its words to its records: configuration, plan, training, resuming, suites."""
