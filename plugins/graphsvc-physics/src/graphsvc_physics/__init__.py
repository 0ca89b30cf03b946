"""Simulators with adjoints for graphsvc."""
