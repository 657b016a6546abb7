"""What people read of the store: views, rollups, saved queries, who sees what."""
