"""What a caller's phrases and language mean for decoding with one model: scores that tokens get, tokens that are shut
out."""

from __future__ import annotations

import logging
import math
import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from parakeetd.errors import PhraseError
from parakeetd.model.bundle import TOKENIZER, TOKENS, Bundle
from parakeetd.model.context_tree import START, ContextTree
from parakeetd.model.decoding import DecodeOptions
from parakeetd.model.phrases import Boost, Speller
from parakeetd.model.scripts import allowed_tokens, is_open, scripts_of
from parakeetd.model.tokens import Vocabulary

log = logging.getLogger(__name__)

Floats = NDArray[np.float32]

MOST_KEPT: Final = 64
"""Lists of phrases that are kept ready. A stream uses its list for every segment."""

_MOST_NOTED: Final = 1000
"""Languages that are remembered as logged: clients choose them."""


@dataclass(frozen=True, slots=True, eq=False)
class Bias:
    """How the choice of tokens is changed. One may serve many hypotheses at once."""

    tree: ContextTree | None = None
    allowed: NDArray[np.bool_] | None = None
    """[V + 1]; None when all are."""
    takes_back: bool = True
    """Whether what a phrase changed is undone when the phrase does not come. NeMo leaves it."""

    def allows(self, tokens: Iterable[int]) -> bool:
        return self.allowed is None or all(self.allowed[token] for token in tokens)

    def steering(self) -> Steering:
        """For a new hypothesis."""
        return Steering(self)


class Steering:
    """Chooses the tokens of one hypothesis.

    A token that is another one for a phrase's sake begins a trial. It ends well when a whole phrase with that token has
    come; `failed` says that none can come any more.
    """

    __slots__ = (
        "_allowed",
        "_before",
        "_node",
        "_takes_back",
        "_tree",
        "_tried",
        "begun",
        "open",
    )

    def __init__(self, bias: Bias) -> None:
        self._tree = bias.tree
        self._allowed = bias.allowed
        self.open = bias.allowed is None
        """Whether no token is shut out."""
        self._takes_back = bias.takes_back
        self._node = START
        self._before = START
        self._tried = 0
        """Tokens of the trial; 0 when there is none."""
        self.begun = False
        """Whether the last token began a trial, which is still open."""

    @property
    def on_trial(self) -> bool:
        return self._tried > 0

    @property
    def failed(self) -> bool:
        return self._tree is not None and self._tree.matched(self._node) < self._tried

    def take_back(self, instead: int) -> None:
        """Return to before the trial; this is the token that is emitted now, the one without phrases."""
        self._tried = 0
        self._node = START if self._tree is None else self._tree.after(self._before, instead)

    def allowed(self, scores: Floats, best: int) -> int:
        """The highest of the scores [V + 1] of tokens and blank that are not shut out; `best` is the highest of all.

        Whether it is blank is decided here, without the phrases, as in NeMo's greedy decoding: they change which token
        is emitted, not whether one is.
        """
        if self._allowed is None or self._allowed[best]:
            return best
        return int(np.where(self._allowed, scores, -np.inf).argmax())

    def boosted(
        self, scores: Floats, best: int, *, others: float = math.inf, not_again: int | None = None
    ) -> int:
        """The token that is emitted instead of the best one, which may be the same.

        Args:
            others: sum of the likelihoods of all but the best, whose own is 1, where that is known.
            not_again: a token other than the best that must not be taken.
        """
        self.begun = False
        if self._tree is None:
            return best
        taken = best
        # What is so much less likely that no bonus makes up for it need not be looked at. In float32 the sum is no more
        # exact than this.
        if math.log(max(others, 1e-4)) + self._tree.highest(self._node) > 0:
            taken = self._highest(self._tree, scores, best, not_again)
        begins = self._takes_back and taken != best and not self._tried
        if begins:
            self._before = self._node
        self._node = self._tree.after(self._node, taken)
        if begins or self._tried:
            self._tried += 1
            if self._tree.whole(self._node) >= self._tried:
                self._tried = 0
            self.begun = begins and self._tried > 0
        return taken

    def _highest(self, tree: ContextTree, scores: Floats, best: int, not_again: int | None) -> int:
        taken, highest = best, scores[best]
        for tokens, bonuses in tree.arcs(self._node):
            if not len(tokens):
                continue
            raised = scores[tokens] + bonuses
            if self._allowed is not None:
                raised[~self._allowed[tokens]] = -np.inf
            if not_again is not None:
                raised[tokens == not_again] = -np.inf
            place = int(raised.argmax())
            if raised[place] > highest:
                taken, highest = int(tokens[place]), raised[place]
        return taken


class Biasing:
    """Makes the biases for one model. May be used from several threads."""

    def __init__(self, model: str, vocabulary: Vocabulary, tokenizer: Path | None) -> None:
        """
        Args:
            model: its name, for messages.
            tokenizer: its SentencePiece model; None when there is none, and no phrase can be boosted.
        """
        self._model = model
        self._vocabulary = vocabulary
        self._tokenizer = tokenizer
        self._speller: Speller | None = None
        self._trees: OrderedDict[tuple[Boost, ...], ContextTree] = OrderedDict()
        self._same: dict[int, tuple[tuple[Boost, ...], ContextTree]] = {}
        """By the identity of the list, which is kept, so that no other list gets it."""
        self._allowed: dict[frozenset[str], NDArray[np.bool_] | None] = {}
        self._noted: set[str] = set()
        self._lock = threading.Lock()

    @classmethod
    def of(cls, bundle: Bundle) -> Biasing:
        """For the model of a bundle.

        Raises:
            BundleError: a file is damaged.
        """
        [tokens] = bundle.checked([TOKENS])
        [tokenizer] = bundle.checked([TOKENIZER]) if TOKENIZER in bundle.manifest.files else [None]
        return cls(bundle.name, Vocabulary.read(tokens), tokenizer)

    def __call__(self, options: DecodeOptions) -> Bias | None:
        """The bias of these options; None when they leave every choice to the model.

        Raises:
            PhraseError: a phrase cannot be spelled with the model's tokens.
        """
        with self._lock:
            tree = self._tree_of(options.boosts) if options.boosts else None
            allowed = None if is_open(options.language) else self._allowed_in(options.language)
        return None if tree is None and allowed is None else Bias(tree, allowed)

    def _tree_of(self, boosts: tuple[Boost, ...]) -> ContextTree:
        known, tree = self._same.get(id(boosts), (None, None))
        if known is boosts and tree is not None:
            # Of the same stream: to hash a long list takes longer than to decode a word.
            return tree
        if (tree := self._trees.get(boosts)) is None:
            tree = self._new_tree(boosts)
        self._trees.move_to_end(boosts)
        if len(self._same) >= MOST_KEPT:
            self._same.clear()
        self._same[id(boosts)] = (boosts, tree)
        return tree

    def _new_tree(self, boosts: tuple[Boost, ...]) -> ContextTree:
        if self._speller is None:
            if self._tokenizer is None:
                raise PhraseError(f"model {self._model} cannot boost phrases: it came without {TOKENIZER}")
            self._speller = Speller(self._tokenizer, self._vocabulary, self._model)
        spell = self._speller.spell
        tree = ContextTree((tokens, boost.weight) for boost in boosts for tokens in spell(boost.phrase))
        self._trees[boosts] = tree
        if len(self._trees) > MOST_KEPT:
            self._trees.popitem(last=False)
        return tree

    def _allowed_in(self, language: str) -> NDArray[np.bool_] | None:
        if not (scripts := scripts_of(language)):
            if language not in self._noted and len(self._noted) < _MOST_NOTED:
                self._noted.add(language)
                log.info(
                    "the script of language %r is not known: tokens of all scripts are written", language
                )
            return None
        if scripts not in self._allowed:
            self._allowed[scripts] = allowed_tokens(self._vocabulary.pieces, scripts)
        return self._allowed[scripts]
