"""Derivatives along a direction: a tangent beside each value, and one beside each gradient."""
