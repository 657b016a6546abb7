"""Runs the analyzer: python -m services.analyzer."""

from services.analyzer.app import build
from services.analyzer.settings import Settings
from services.common.process.runner import run_service

if __name__ == "__main__":
    run_service("analyzer", build, Settings.load)
