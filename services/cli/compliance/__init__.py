"""What a compliance officer asks. `tocsin audit`: who did what, and the proof that
nothing of it was changed since; `tocsin privacy`: what is known of a person, and its
erasure.
"""

from services.cli.compliance.audit import app as audit_app
from services.cli.compliance.privacy import app as privacy_app

__all__ = ["audit_app", "privacy_app"]
