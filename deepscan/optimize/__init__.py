"""From a bundle to a smaller or faster one that says the same, with its lineage."""
