"""The checked demonstration: drives real `ditto` processes; Python's standard library only."""
