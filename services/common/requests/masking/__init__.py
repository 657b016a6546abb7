"""Texts of requests without personal data and secrets: docs/security.md, ADR 23.

`texts.py` says what a request's texts are, `masker.py` masks them, long ones in a process
of its own (`child.py`), `recording.py` decides what of them an end tells.
"""
