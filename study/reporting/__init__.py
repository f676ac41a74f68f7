"""Render a run for people: terminal tables, report.html, figures, exported proxies."""
