"""Models of counts that both the console and the analyzer use. Pure."""
