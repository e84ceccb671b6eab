"""Model cards: what a bundle is, what it learnt from, how good it is and where it fails, as far as known."""
