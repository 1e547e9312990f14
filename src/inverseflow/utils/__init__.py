"""General helpers that know nothing of flows: files, seeds, timing, Markdown, optional packages."""
