"""Detect deepfakes in pictures, video and sound."""
