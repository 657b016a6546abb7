"""Events of what was found in the figures: breaches, scores, recommendations."""
