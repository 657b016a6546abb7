"""Models of counts that several roles use. Pure."""
