"""What to do about a cause: one file a recipe, from selected samples to rows to train on."""
