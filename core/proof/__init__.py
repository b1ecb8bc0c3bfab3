"""Recipes tried out: copies of a checkpoint trained in arms, and the numbers that compare them."""
