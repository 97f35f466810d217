"""One data set, or one way of arranging photos, a file."""
