"""What a person reads of a run: terminal tables, report.html, pictures, exported proxies."""
