"""`python -m services.gateway`: HTTP into events, events into HTTP."""

from services.common.process.runner import run_service
from services.gateway.app import build
from services.gateway.settings import Settings

if __name__ == "__main__":
    run_service("gateway", build, Settings.load)
