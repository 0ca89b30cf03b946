"""The explorer: a page in the browser that shows a graph's values and gradients, and the JSON API that it asks."""
