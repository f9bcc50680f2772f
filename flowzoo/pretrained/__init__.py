"""Pretrained models: load one by name, list them, save your own."""

from flowzoo.pretrained.card import Card
from flowzoo.pretrained.files import save_pretrained
from flowzoo.pretrained.registry import list_pretrained, load_pretrained, show_pretrained
from flowzoo.pretrained.single_file import load_safetensors, save_safetensors

__all__ = [
    "Card",
    "list_pretrained",
    "load_pretrained",
    "load_safetensors",
    "save_pretrained",
    "save_safetensors",
    "show_pretrained",
]
