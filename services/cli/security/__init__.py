"""`tocsin security`: what security analysis found and expects, and which thresholds follow
from what people said of findings.
"""

from services.cli.security.commands import app

__all__ = ["app"]
