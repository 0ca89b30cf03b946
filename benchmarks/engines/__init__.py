"""The engines: graphsvc and its peers, each a module of the same functions.

`prepare(work)` returns what is timed, or None if the engine has no such work; `arrays(result)` returns its value and
gradients as NumPy's; `about()` says what ran. graphsvc and jax also have `cold(work)`, which returns what measures the
seconds of each stage from a graph never seen to its gradients.
"""
