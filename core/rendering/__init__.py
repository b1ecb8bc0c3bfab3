"""From a sample to token ids and turns: templates and the process they run in, encoding, tokenizers."""
