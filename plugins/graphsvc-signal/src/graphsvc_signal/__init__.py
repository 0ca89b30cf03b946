"""Signal processing for graphsvc."""
