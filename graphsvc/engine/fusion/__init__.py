"""Fusion: a plan becomes a program, which gives what the two loops give and is faster.

`recording` learns what gates compute by calling them on symbols; `lowering` puts the recordings of a plan one behind
the other, forward and backward, and `merging` drops what is computed twice; `kernels` finds what may run together,
`blocks` runs that over cache-sized parts of arrays and `levels` over many gates on single numbers; `program` is all of
it, ready to run.
"""
