"""A child process that is asked over a socket: what holds Python's lock, or takes long,
happens there, beside the service's own loop.
"""
