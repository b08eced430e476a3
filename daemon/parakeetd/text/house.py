"""What the daemon's configuration says of text, and what a client may choose within it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from parakeetd.text.pen import Style
from parakeetd.text.tables import Tables


@dataclass(frozen=True, slots=True)
class HouseStyle:
    tables: Tables
    commands: bool = False
    """Spoken commands for clients that do not say."""
    always_punctuation: bool = False
    """The model's punctuation also for clients that do not ask for it."""

    def style_for(
        self,
        *,
        punctuation: bool,
        profanity_filter: bool,
        commands: bool | None,
        language: str,
        spoken: Sequence[str],
    ) -> Style:
        """The style of one stream.

        Args:
            commands: None when the client does not say.
            language: BCP-47 tag that the client names, or empty.
            spoken: languages of the model.
        """
        commanded = self.commands if commands is None else commands
        return Style(
            punctuation=punctuation or self.always_punctuation,
            commands=self.tables.commands_for(language, spoken) if commanded else None,
            profanity=self.tables.profanity if profanity_filter else None,
        )
