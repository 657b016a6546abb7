"""What the gateway publishes, and whether the bus is there. `request_maker.py` makes the
requests of a body.
"""
