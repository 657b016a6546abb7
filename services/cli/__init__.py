"""`tocsin`: one file per command group."""
