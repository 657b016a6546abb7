"""The erasure and the export of what is known of a person (ADR 25)."""
