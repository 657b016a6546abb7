"""HTTP/1.1 as all our servers speak it: uvicorn with limits, on a part of a service."""
