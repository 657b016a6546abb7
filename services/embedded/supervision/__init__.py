"""Child processes: started in order, watched, restarted, logged, never left behind."""
