"""What is decided about a call before any of its requests is published.

`requests.py` makes the requests of a body, `gate.py` lets them in, in this order:
a place (`tenant_slots.py`), time enough, budgets, limits, servable (`checks.py`).
`admitted.py` is a request that was let in, with all that was taken for it.
"""
