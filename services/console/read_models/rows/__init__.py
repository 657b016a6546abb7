"""Lists and exports: rows, page by page, never all at once."""
