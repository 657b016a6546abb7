"""SQL as text: tokens, rights, what each role may ask."""
