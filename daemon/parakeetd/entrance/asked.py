"""What clients ask of models: which one answers, and what the log says where that is another."""

from __future__ import annotations

import logging
from typing import Final

from parakeetd.session import Models, ServedModel

_log = logging.getLogger(__name__)

_MOST_NOTED: Final = 1000
"""Names of models and languages that are remembered as logged: clients choose them."""


class Asked:
    """Remembers what has been said of whom clients ask for."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._noted: set[tuple[str, str]] = set()

    def model_for(self, name: str, language: str) -> ServedModel:
        """The model that answers: the default one also for names of others, which clients ask for.

        Args:
            language: BCP-47 tag that the client names, or empty.

        Raises:
            Closed: there is no model yet.
        """
        model = self._models.named(name)
        if name and model.name != name:
            self._note("model", name, f"is not served: {model.name} answers")
        if language and not _speaks(model, language):
            self._note("language", language, f"{model.name} was not trained on: it answers all the same")
        return model

    def _note(self, kind: str, name: str, remark: str) -> None:
        if (kind, name) not in self._noted and len(self._noted) < _MOST_NOTED:
            self._noted.add((kind, name))
            _log.info("a client asked for %s %r, which %s", kind, name, remark)


def _speaks(model: ServedModel, language: str) -> bool:
    """Whether a model knows a language; `en` is any English."""
    asked = language.lower()
    return any(tag.lower() == asked or tag.lower().split("-")[0] == asked for tag in model.languages)
