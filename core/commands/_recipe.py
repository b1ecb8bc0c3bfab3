"""What the commands share that use a recipe."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from core.commands._base import add_kind, add_pairs, add_rows, existing_path


def add_recipe(parser: argparse.ArgumentParser) -> None:
    """Adds the run, its rows, the recipe and its settings."""
    add_rows(parser, "cause=base_conflict")
    add_kind(parser, "--recipe", "recipes", "what treats the rows", required=True)
    add_pairs(parser, "--set", "NAME=VALUE", "setting or file of the recipe, repeatable", dest="values")


def recipe_settings(args: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Path]]:
    """The settings and the files given with --set."""
    from core.plugins import kind, parsed_settings

    recipe = kind("recipes", args.recipe)
    slots = {slot.name for slot in recipe.files}
    texts = dict(args.values)
    files = {name: existing_path(text) for name, text in texts.items() if name in slots}
    values = {name: text for name, text in texts.items() if name not in slots}
    return parsed_settings(recipe, values, slots), files
