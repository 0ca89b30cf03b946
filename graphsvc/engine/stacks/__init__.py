"""Several arrays of one shape as one, so that a gate's backward runs once for many vectors."""
