"""`tocsin audit`: who did what, and the proof that nothing of it was changed since."""

from services.cli.audit.commands import app

__all__ = ["app"]
