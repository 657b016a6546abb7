"""Pure: which windows are due, and what begins and ends in them."""
