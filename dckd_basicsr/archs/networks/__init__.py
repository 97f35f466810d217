"""The networks that this package adds to BasicSR's registry, with their parts."""
