"""What a service did lately, in figures: tallies, drift from the training data, alerts. Pure functions."""
