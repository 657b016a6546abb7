"""Reading the bus: tails, group consumers, leadership, look-ups in the log."""
