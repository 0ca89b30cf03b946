"""The engine: the whole of automatic differentiation. It knows neither gRPC nor protobuf.

`graph` is where users come in, `backprop` the two loops of the lecture, `running` what answers a question: it judges
it, makes a plan, and runs either the two loops or the program that `fusion` made of the plan.
"""
