"""How much a caller may ask for: requests and tokens a minute, requests at a time."""
