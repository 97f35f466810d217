"""Packed databases: reading images, pages and patches out of them, and what they say of themselves."""
