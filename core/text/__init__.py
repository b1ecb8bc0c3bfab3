"""Words and patterns of texts, whatever the language."""
