"""Drawing: a graph as a picture, left to right, with values in green and gradients in red."""
