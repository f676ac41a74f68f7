"""The data set that ships inside the package, and the script that drew it."""
