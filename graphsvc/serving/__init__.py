"""The server: reads requests, admits them, runs their graphs, and answers."""
