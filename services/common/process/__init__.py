"""What every service's process has: its settings, its life, its health, logs and
metrics.
"""
