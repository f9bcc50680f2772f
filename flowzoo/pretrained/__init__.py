"""Pretrained models: load one by name, list them, save your own."""

from flowzoo.pretrained.card import Card
from flowzoo.pretrained.files import save_pretrained
from flowzoo.pretrained.registry import list_pretrained, load_pretrained, show_pretrained
from flowzoo.pretrained.single_file import load, save

__all__ = [
    "Card",
    "list_pretrained",
    "load",
    "load_pretrained",
    "save",
    "save_pretrained",
    "show_pretrained",
]
