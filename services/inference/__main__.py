"""Runs the inference service: `python -m services.inference`."""

from services.common.process.runner import run_service
from services.inference.app import build
from services.inference.settings import Settings

if __name__ == "__main__":
    run_service("inference", build, Settings.load)
