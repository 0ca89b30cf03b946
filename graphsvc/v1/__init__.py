"""Messages and stubs of the protobuf package `graphsvc.v1`, generated from `protos/` by `make protos`."""
