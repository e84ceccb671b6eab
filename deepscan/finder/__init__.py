"""Training the face finder that ships: what it learns from, its network, its file.

Running it needs none of this: that is ``media/shipped_faces.py``.
"""
