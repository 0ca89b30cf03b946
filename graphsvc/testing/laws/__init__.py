"""The laws that every gate obeys: small functions over an example, each with a name that never changes."""

from graphsvc.testing.laws.registry import CLASS_LAWS, EXAMPLE_LAWS, FIRST_LAWS, LAWS

__all__ = ["CLASS_LAWS", "EXAMPLE_LAWS", "FIRST_LAWS", "LAWS"]
