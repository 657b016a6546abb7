"""Places outside the store that an erasure must reach."""
