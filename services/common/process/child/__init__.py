"""A child process that is asked over a socket: what holds Python's lock, or takes long,
happens there, beside the service's own loop.

`child_process.py` is one as the service sees it, `frames.py` what the two tell each other,
`on_demand.py` keeps one for as long as there is something to do, tenants in turn (`turns.py`).
"""
