"""What a prompt is judged to be before it is published: docs/security.md, ADR 21.

`passages.py` says what is read, `reading.py` what follows from it, `screener.py` reads
by the rules of services/detection, `worker.py` (a process of `pool.py`, fed by
`fair_queue.py`) by its model too; `inspector.py` decides who reads what, and when.
"""
