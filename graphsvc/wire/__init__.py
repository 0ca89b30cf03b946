"""What goes over the wire: messages made of graphs, arrays and errors, and read again."""
