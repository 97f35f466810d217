"""Image files: their names, headers and orientation, and their pixels."""
