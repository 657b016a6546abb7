"""HTTP into events, events into HTTP."""
