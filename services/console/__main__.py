"""Runs the console: python -m services.console."""

from services.common.process.runner import run_service
from services.console.app import build
from services.console.settings import Settings

if __name__ == "__main__":
    run_service("console", build, Settings.load)
