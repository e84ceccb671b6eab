"""The size that the shared decoders of this folder's tests have."""

MEMORY_BYTES = 2**30
