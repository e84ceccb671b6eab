"""Whether a prepared file is like those that a bundle was chosen on: plain statistics and a gate on them."""
