"""The console's endpoints, one file a subject."""
