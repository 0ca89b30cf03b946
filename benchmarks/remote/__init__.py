"""Gradients over a connection, by graphsvc and by its peers, and what the connection alone takes."""
