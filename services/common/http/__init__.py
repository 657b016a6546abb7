"""HTTP/1.1 as all our services speak it: the server with its limits, bodies, problems, the
access log, /docs.
"""
