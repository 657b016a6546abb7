"""Who is let in: tokens beside API keys, and what slows down those who guess."""
