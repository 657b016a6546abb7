"""What the console tells of security: prompts analysed on demand, what was found, what
people say of it, and the thresholds that follow.
"""
