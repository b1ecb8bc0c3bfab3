"""From a sample to token ids and turns: templates and their process, encoding, tokenizers."""
