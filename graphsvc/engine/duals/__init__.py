"""Dual arrays, a value with its tangent: NumPy's functions carry both along, so a gate in plain NumPy has tangents."""
