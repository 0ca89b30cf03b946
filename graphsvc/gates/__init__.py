"""The gates that graphsvc brings: rules only, one module a family, each module a plugin like anybody's."""
