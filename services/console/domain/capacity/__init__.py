"""How many slots, replicas and accelerators a forecast takes. Pure."""
