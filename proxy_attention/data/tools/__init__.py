"""Data sets on disk, for people: downloading, unpacking, checking, taking a part; no trial needs it."""
