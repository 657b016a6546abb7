"""One installation: its home, its processes, and `tocsin up`."""
