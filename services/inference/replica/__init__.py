"""A model replica as it meets the bus: work in, numbered pieces and the end out."""
