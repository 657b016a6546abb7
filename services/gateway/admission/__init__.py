"""What is decided about a call before any of its requests is published.

`gate.py` lets its requests in, in this order: a place (`streams/tenant_slots.py`), time
enough, budgets, limits, servable (`checks.py`).
"""
