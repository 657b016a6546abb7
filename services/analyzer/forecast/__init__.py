"""What is to be expected of the next day and week, and what capacity that takes."""
