"""Tables of runs and reports, for terminals, Markdown, LaTeX and CSV."""
