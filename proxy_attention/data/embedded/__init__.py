"""The data that ships inside the package, and how it was drawn."""
