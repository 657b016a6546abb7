"""What may be exported, by whom, in which order, and what is asked. Pure."""
