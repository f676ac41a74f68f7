"""Trials under Ray: the session, the workers, the search, the lock of a run; the only package that imports ray."""
