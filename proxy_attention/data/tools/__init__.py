"""Tools that a person uses on a data set: download, unpack, check, take a part; no trial needs them."""
