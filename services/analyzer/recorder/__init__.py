"""The recorder: every event into the store, each exactly once, whatever dies when."""
