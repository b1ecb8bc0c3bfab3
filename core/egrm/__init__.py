"""Think only when needed: direct answers where they agree, chain of thought where they do not (arXiv 2604.10072)."""
