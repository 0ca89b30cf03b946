"""Gates of heat for graphsvc."""
