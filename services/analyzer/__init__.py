"""Records every event and judges it."""
