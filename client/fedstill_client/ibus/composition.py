"""What keys do: letters go into a preedit, suggestions stand below it, and text is committed to the app.

A pure state machine: keys and answers go in, and what is to be done comes out; what is to be shown is read
from its properties. It knows neither IBus nor the agent.

A suggestion that was taken stays in the preedit, with a space behind it, until the next key. So it can be
undone, and its space taken back before a mark, in every app: nothing that is committed is ever deleted.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field

from fedstill_client.agent_types import Suggestion
from fedstill_client.ibus.field import Field
from fedstill_client.ibus.keys import SPACING, Key, KeyKind
from fedstill_client.ibus.typed import SentenceTyped, TextBefore

_LETTERS_LIMIT = 40  # of a word that suggestions are asked for
_PREEDIT_LIMIT = 100  # characters
_CLOSING = frozenset(".,;:!?…)]}»”’%。、！？।،؛؟")
_JOINING = frozenset("'’ʼ-‐")
_INSIDE = _JOINING | frozenset("_·")  # of a word, between its letters
_COMPOSED_KEYS = 2  # behind the key Compose, as nearly all of its sequences have
_TEXT_CHANGING = frozenset({KeyKind.BACKSPACE, KeyKind.DELETE, KeyKind.CHARACTER})
_LEAVES_TEXT = frozenset("csfpob")  # Ctrl with these copies, saves, finds: the text stays as it is
_CHOOSING = frozenset({KeyKind.TAB, KeyKind.CHOICE})
_ARROWS = frozenset({KeyKind.UP, KeyKind.DOWN})
_LEAVING = frozenset({KeyKind.TAB, KeyKind.UP, KeyKind.DOWN, KeyKind.MOVE})  # the place that is typed at


@dataclass(frozen=True)
class CompositionSettings:
    """What the owner has chosen.

    Attributes:
        autocorrect: Whether the space takes a correction that stands first.
        next_words: Whether words are suggested before a letter is typed.
    """

    autocorrect: bool = False
    next_words: bool = True


@dataclass(frozen=True)
class SuggestionWish:
    """What suggestions are asked for.

    Attributes:
        context: The text before the word.
        prefix: The letters of the word so far.
    """

    context: str
    prefix: str


@dataclass(frozen=True)
class Commit:
    """Give the app a text."""

    text: str


@dataclass(frozen=True)
class ForwardKey:
    """Give the app a key that was held back."""

    key: Key


@dataclass(frozen=True)
class Observe:
    """Have the agent keep a sentence."""

    text: str


@dataclass
class KeyOutcome:
    """What a key, or an answer, comes to.

    Attributes:
        handled: Whether the key was taken; the app gets it otherwise, after what is done.
        actions: What is to be done, in order.
    """

    handled: bool = True
    actions: list[Commit | ForwardKey | Observe] = field(default_factory=list)

    @property
    def committed(self) -> str:
        """All text that is committed."""
        return "".join(action.text for action in self.actions if isinstance(action, Commit))

    @property
    def observed(self) -> list[str]:
        """The sentences that the agent is to keep."""
        return [action.text for action in self.actions if isinstance(action, Observe)]


@dataclass(frozen=True)
class _Taken:
    """A suggestion or correction that was taken, and the letters that had been typed."""

    word: str
    typed: str


class Composition:
    """The typing in one field after the other.

    Attributes:
        field: The field that has the focus.
        question: What is to be asked now; None where nothing is. Its answer goes to `answer`.
    """

    def __init__(self, settings: CompositionSettings | None = None) -> None:
        self.settings = settings or CompositionSettings()
        self.field = Field()
        self.question: SuggestionWish | None = None
        self._before = TextBefore()
        self._sentence = SentenceTyped()
        self._letters = ""
        self._taken: _Taken | None = None
        self._accent = ""
        self._suggestions: Sequence[Suggestion] = ()
        self._is_answered = True
        self._cursor: int | None = None
        self._is_hidden = True  # until something is typed
        self._is_escaped = False  # until the next word
        self._held: Key | None = None
        self._passing = 0

    @property
    def preedit(self) -> str:
        """What stands at the cursor and is not committed."""
        if self._taken is not None:
            return f"{self._taken.word} "
        return self._letters + SPACING.get(self._accent, "")

    @property
    def is_taken(self) -> bool:
        """Whether the preedit is a suggestion that was taken, and not letters."""
        return self._taken is not None

    @property
    def suggestions(self) -> Sequence[Suggestion]:
        """What the lookup table shows."""
        return () if self._is_hidden else self._suggestions

    @property
    def cursor(self) -> int | None:
        """The place in the lookup table that was gone to with the arrows."""
        return self._cursor

    # What happens

    def press(self, key: Key) -> KeyOutcome:
        """A key was pressed."""
        outcome = KeyOutcome()
        if not self.field.is_written_in or key.kind is KeyKind.MODIFIER:
            outcome.handled = False
            return outcome
        self._release_held(outcome)
        if self._is_waited_for(key):
            self._held = key
            return outcome
        outcome.handled = self._press(key, outcome)
        self._ask()
        return outcome

    def answer(self, question: SuggestionWish, suggestions: Sequence[Suggestion] | None) -> KeyOutcome:
        """The agent has answered, or (None) could not."""
        outcome = KeyOutcome()
        if question != self.question or self._is_answered:
            return outcome
        self._suggestions, self._is_answered = tuple(suggestions or ()), True
        self._release_held(outcome)
        self._ask()
        return outcome

    def choose(self, number: int) -> KeyOutcome:
        """A place of the lookup table was clicked at, counted from 0."""
        outcome = KeyOutcome()
        if number < len(self.suggestions):
            self._take(number, outcome)
            self._ask()
        return outcome

    def say_text_before(self, text: str) -> KeyOutcome:
        """The app says what stands before the cursor, without the preedit."""
        outcome = KeyOutcome()
        if self.field.is_written_in:
            if self._before.say(text, self.preedit):
                self._observe(self._sentence.end(), outcome)
            self._ask()
        return outcome

    def enter_field(self, entered: Field) -> KeyOutcome:
        """A field has the focus, or says of what kind it is."""
        outcome = KeyOutcome()
        if not entered.is_written_in:  # what it was given before it said so is not to be learned
            self._settle(outcome)
            self._sentence.forget()
            outcome.actions = [action for action in outcome.actions if isinstance(action, Commit)]
            self._before.leave()
        self.field = entered
        self._ask()
        return outcome

    def leave_field(self) -> KeyOutcome:
        """The focus goes elsewhere; IBus gives the preedit to the app."""
        outcome = KeyOutcome()
        self._given_by_ibus(outcome)
        self._observe(self._sentence.end(), outcome)
        self._before.leave()
        self._ask()
        return outcome

    def reset(self) -> KeyOutcome:
        """The app has moved the cursor or changed its text; IBus gives the preedit to the app."""
        outcome = KeyOutcome()
        self._given_by_ibus(outcome)
        if not self._before.is_told:
            self._observe(self._sentence.end(), outcome)
        self._before.doubt()
        self._ask()
        return outcome

    # Keys

    def _press(self, key: Key, outcome: KeyOutcome) -> bool:
        if self._passing and key.kind is KeyKind.CHARACTER:
            self._passing -= 1
            return False
        if self._accent:
            accent, self._accent = self._accent, ""
            if key.kind is KeyKind.BACKSPACE:
                return True
            if key.kind is KeyKind.CHARACTER and not key.is_shortcut:
                key = Key(KeyKind.CHARACTER, _with_accent(key.character, accent))
        if key.is_shortcut:
            return self._shortcut(key, outcome)
        match key.kind:
            case KeyKind.CHARACTER:
                return self._character(key.character, outcome)
            case KeyKind.BACKSPACE:
                return self._backspace()
            case KeyKind.DEAD:
                self._settle(outcome, with_space=True, keep_letters=True)
                self._accent = key.character
                return True
            case KeyKind.TAB | KeyKind.ENTER if self._cursor is not None:
                self._take(self._cursor, outcome)
                return True
            case KeyKind.CHOICE if int(key.character) in self._places():
                self._take(int(key.character) - 1, outcome)
                return True
            case KeyKind.TAB if self.suggestions:
                self._take(0, outcome)
                return True
            case KeyKind.UP | KeyKind.DOWN if self.suggestions and self._letters:
                self._move_cursor(1 if key.kind is KeyKind.DOWN else -1)
                return True
            case KeyKind.ESCAPE if self.suggestions:
                self._is_hidden = self._is_escaped = True
                self._cursor = None
                return True
        return self._pass(key, outcome)

    def _character(self, character: str, outcome: KeyOutcome) -> bool:
        if character.isdecimal() and self._letters and unicodedata.decimal(character) in self._places():
            self._take(unicodedata.decimal(character) - 1, outcome)
            return True
        if self._taken is not None and character in _JOINING:  # "friend" becomes "friend's"
            self._letters, self._taken = self._taken.word, None
        if self._is_of_word(character):
            self._settle(outcome, with_space=True, keep_letters=True)
            if not self._letters or len(self._letters) >= _PREEDIT_LIMIT:
                self._settle(outcome)
                self._is_escaped = False
            self._is_hidden = self._is_escaped
            self._letters += character
            self._cursor = None
            return True
        if character == " " and self._cursor is not None:
            self._take(self._cursor, outcome)
            return True
        if character == " " and self._letters and self._is_corrected():
            self._take(0, outcome)
            return True
        if not self.preedit:
            self._note(character, outcome)
            self._is_hidden = False
            return False
        if character != " " or self._taken is None:
            self._settle(outcome, with_space=not self._is_closing(character), then=character)
        else:
            self._settle(outcome, with_space=True)  # the space that is there already
        self._is_hidden = False
        return True

    def _backspace(self) -> bool:
        if self._taken is not None:
            self._letters, self._taken = self._taken.typed, None
            self._is_hidden = True  # as it was typed is as it was meant
        elif self._letters:
            self._letters = self._letters[:-1]
        else:
            self._before.take_back()
            self._sentence.take_back()
            self._is_hidden = True
            return False
        self._cursor = None
        return True

    def _shortcut(self, key: Key, outcome: KeyOutcome) -> bool:
        self._settle(outcome, with_space=key.kind is not KeyKind.ENTER)
        if key.kind is KeyKind.ENTER:
            self._observe(self._sentence.end(), outcome)
        elif key.kind in _TEXT_CHANGING and key.character.lower() not in _LEAVES_TEXT:
            self._sentence.forget()
            self._before.doubt()
        self._is_hidden = True
        return False

    def _pass(self, key: Key, outcome: KeyOutcome) -> bool:
        """Commit what is pending and let the app have the key."""
        self._settle(outcome, with_space=key.kind not in (KeyKind.ENTER, KeyKind.TAB))
        self._is_hidden = True
        if key.kind is KeyKind.ENTER:
            self._note("\n", outcome)
        elif key.kind is KeyKind.COMPOSE:
            self._passing = _COMPOSED_KEYS
            self._sentence.skip_word()
            self._before.doubt()
        elif key.kind in _LEAVING:
            self._observe(self._sentence.end(), outcome)
            self._before.doubt()
        return False

    # What is pending

    def _take(self, number: int, outcome: KeyOutcome) -> None:
        word, typed = self._suggestions[number].word, self._letters
        self._letters = ""
        self._settle(outcome, with_space=True)
        self._taken = _Taken(word, typed)
        self._cursor, self._is_hidden = None, False

    def _settle(
        self, outcome: KeyOutcome, *, with_space: bool = False, keep_letters: bool = False, then: str = ""
    ) -> None:
        """Commit what is pending: a word that was taken, or else the letters."""
        if self._taken is not None:
            text = self._taken.word + (" " if with_space else "") + then
            self._taken = None
        elif keep_letters:
            return
        else:
            text, self._letters = self._letters + then, ""
        self._cursor = None
        if text:
            outcome.actions.append(Commit(text))
            self._note(text, outcome)

    def _given_by_ibus(self, outcome: KeyOutcome) -> None:
        """Note the preedit as committed, by IBus."""
        self._note(self.preedit, outcome)
        self._letters, self._taken, self._accent, self._cursor = "", None, "", None
        self._held, self._passing, self._is_hidden = None, 0, True

    def _note(self, text: str, outcome: KeyOutcome) -> None:
        self._before.add(text)
        self._observe(self._sentence.add(text), outcome)

    @staticmethod
    def _observe(sentences: list[str], outcome: KeyOutcome) -> None:
        outcome.actions += map(Observe, sentences)

    # Suggestions

    def _ask(self) -> None:
        """Set the question that what is there now is; the old suggestions go with the old question."""
        question = self._wanted()
        if question != self.question:
            self.question, self._is_answered = question, question is None
            self._suggestions, self._cursor = (), None

    def _wanted(self) -> SuggestionWish | None:
        if self._is_hidden or self._accent or not self.field.is_written_in:
            return None
        if self._letters:
            too_long = len(self._letters) > _LETTERS_LIMIT
            return None if too_long else SuggestionWish(str(self._before), self._letters)
        if not self.settings.next_words:
            return None
        if self._taken is not None:
            return SuggestionWish(f"{self._before}{self.preedit}", "")
        context = str(self._before)
        return SuggestionWish(context, "") if context.strip() and context[-1].isspace() else None

    def _is_waited_for(self, key: Key) -> bool:
        """Whether a key chooses among suggestions that are still to come: the answer decides what it does."""
        if self._is_answered or self.question is None or key.is_shortcut or self._accent:
            return False
        chooses = key.kind is KeyKind.CHARACTER and key.character in "123456789" and self._letters != ""
        return chooses or key.kind in _CHOOSING or (key.kind in _ARROWS and self._letters != "")

    def _release_held(self, outcome: KeyOutcome) -> None:
        """Do what the key that was held back does now."""
        key, self._held = self._held, None
        if key is not None and not self._press(key, outcome):
            outcome.actions.append(ForwardKey(key))

    def _is_corrected(self) -> bool:
        return self.settings.autocorrect and bool(
            self.suggestions and self.suggestions[0].kind == "correction"
        )

    def _places(self) -> range:
        return range(1, len(self.suggestions) + 1)

    def _move_cursor(self, step: int) -> None:
        last = len(self.suggestions) - 1
        before = self._cursor if self._cursor is not None else (-1 if step > 0 else last + 1)
        self._cursor = min(max(before + step, 0), last)

    def _is_closing(self, mark: str) -> bool:
        """Whether a mark stands at a word without a space."""
        return mark in _CLOSING or (mark == '"' and str(self._before).count(mark) % 2 == 1)

    def _is_of_word(self, character: str) -> bool:
        if all(each.isalpha() or unicodedata.category(each).startswith("M") for each in character):
            return character != ""
        return self._letters != "" and (character in _INSIDE or character.isdigit())


def _with_accent(character: str, accent: str) -> str:
    """The letter that a dead key and a key type together; both, where there is none."""
    if character == " ":
        return SPACING.get(accent, "")
    return unicodedata.normalize("NFC", character + accent)
