"""Reply streams: from the log to the waiting client.

`admitted.py` is a request that was let in, with all that was taken for it: its place
(`tenant_slots.py`), its limits and its budgets.
"""
