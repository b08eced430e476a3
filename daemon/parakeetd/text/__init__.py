"""How recognised words are written: spoken commands, punctuation, profanity. Words keep their times throughout."""

from __future__ import annotations

from parakeetd.text.commands import Commands
from parakeetd.text.house import HouseStyle
from parakeetd.text.pen import Pen, Style
from parakeetd.text.profanity import WordList
from parakeetd.text.recording import taken_back
from parakeetd.text.tables import Tables, read_tables

__all__ = ["Commands", "HouseStyle", "Pen", "Style", "Tables", "WordList", "read_tables", "taken_back"]
