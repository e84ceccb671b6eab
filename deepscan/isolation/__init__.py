"""Decoding in processes that may be killed: a file that crashes its decoder costs one request."""
