"""What a compliance officer asks. `tocsin audit`: who did what, and the proof that
nothing of it was changed since; `tocsin privacy`: what is known of a person, and its
erasure.
"""

from services.cli.audit.commands import app
from services.cli.audit.privacy import app as privacy_app

__all__ = ["app", "privacy_app"]
