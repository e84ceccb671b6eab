"""Bytes to arrays; the only place that knows containers and codecs."""
