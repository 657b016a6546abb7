"""The dispatcher as it meets the bus: the group's member, its leadership, the takeover
that leadership begins with. What is decided lies in `domain/dispatch`.
"""
