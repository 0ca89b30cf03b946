"""Option prices for graphsvc."""
