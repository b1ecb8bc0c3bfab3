"""Small models trained here, whose learned and unlearned samples are known by construction."""
