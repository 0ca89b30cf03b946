"""Derivatives beyond one gradient: along directions, second ones, whole matrices, and many vectors in one call."""
