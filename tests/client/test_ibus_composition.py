"""What keys do in the desktop, without one: an app that takes what is committed, and a scripted agent."""

from __future__ import annotations

import pytest
from fedstill_client.agent_types import Suggestion
from fedstill_client.ibus.composition import Commit, Composition, CompositionSettings, ForwardKey, KeyOutcome
from fedstill_client.ibus.field import (
    ALPHA,
    DIGITS,
    EMAIL,
    FREE_FORM,
    HIDDEN_TEXT,
    NAME,
    NUMBER,
    PASSWORD,
    PHONE,
    PIN,
    PRIVATE,
    TERMINAL,
    URL,
    Field,
)
from fedstill_client.ibus.keys import Key, KeyKind, is_release, key_of

WORDS = ("quick", "quietly", "quest", "fox", "the", "over", "Anna", "mañana")
NAMED = {
    "Tab": KeyKind.TAB,
    "Enter": KeyKind.ENTER,
    "Esc": KeyKind.ESCAPE,
    "Back": KeyKind.BACKSPACE,
    "Up": KeyKind.UP,
    "Down": KeyKind.DOWN,
    "Left": KeyKind.MOVE,
    "Del": KeyKind.DELETE,
    "Shift": KeyKind.MODIFIER,
    "Media": KeyKind.OTHER,
    "Compose": KeyKind.COMPOSE,
}


class Writer:
    """Somebody who types into an app; the agent answers at once, unless it is silent."""

    def __init__(self, *, silent: bool = False, **settings: bool) -> None:
        self.typing = Composition(CompositionSettings(**settings))
        self.silent = silent
        self.text = ""
        self.learned: list[str] = []
        self.passed: list[Key] = []
        self.asked: list[tuple[str, str]] = []

    def keys(self, script: str) -> Writer:
        """Type a script; <Tab>, <Back> and so on are keys, <^x> is Ctrl and x."""
        while script:
            if script[0] == "<":
                name, _, script = script[1:].partition(">")
                self.press(_named(name))
            else:
                self.press(Key(KeyKind.CHARACTER, script[0]))
                script = script[1:]
        return self

    def press(self, key: Key) -> bool:
        outcome = self.typing.press(key)
        self.do(outcome)
        if not outcome.handled:
            self.get(key)
        self.agent()
        return outcome.handled

    def agent(self) -> None:
        question = self.typing.question
        if not self.silent and question is not None:
            self.asked.append((question.context, question.prefix))
            self.do(self.typing.answer(question, suggestions(question.prefix)))

    def do(self, outcome: KeyOutcome) -> None:
        for action in outcome.actions:
            if isinstance(action, Commit):
                self.text += action.text
            elif isinstance(action, ForwardKey):
                self.get(action.key)
        self.learned += outcome.observed

    def get(self, key: Key) -> None:
        """The app has a key."""
        self.passed.append(key)
        if key.is_shortcut:
            return
        if key.kind is KeyKind.BACKSPACE:
            self.text = self.text[:-1]
        typed = key.character if key.kind is KeyKind.CHARACTER else ""
        self.text += {KeyKind.ENTER: "\n", KeyKind.TAB: "\t"}.get(key.kind, typed)

    def leave(self) -> Writer:
        """The focus goes, and IBus gives the app the preedit."""
        self.text += self.typing.preedit
        self.do(self.typing.leave_field())
        return self

    @property
    def table(self) -> list[str]:
        return [each.word for each in self.typing.suggestions]


def suggestions(prefix: str) -> list[Suggestion]:
    """Words that begin so; "teh" is corrected."""
    if prefix == "teh":
        return [Suggestion("the", 0.5, "correction"), Suggestion("tehran", 0.1, "completion")]
    kind = "completion" if prefix else "next"
    return [Suggestion(word, 0.1, kind) for word in WORDS if word.lower().startswith(prefix.lower())]


def _named(name: str) -> Key:
    if name in ("F1", "F2", "F3", "F9"):
        return Key(KeyKind.CHOICE, name[1:])
    if name.startswith("^"):
        known = NAMED.get(name[1:])
        return Key(known, "", True) if known else Key(KeyKind.CHARACTER, name[1:], True)
    return Key(NAMED[name])


@pytest.mark.parametrize(
    ("script", "text", "preedit"),
    [
        pytest.param("the ", "the ", "", id="the space keeps what was typed"),
        pytest.param("teh ", "teh ", "", id="a correction is not taken unasked"),
        pytest.param("qu<Tab>", "", "quick ", id="tab takes the first"),
        pytest.param("qu2", "", "quietly ", id="a digit takes its place"),
        pytest.param("qu<Down><Down> ", "", "quietly ", id="arrows and the space"),
        pytest.param("qu<Down><Down><Up><Enter>", "", "quick ", id="arrows and Enter"),
        pytest.param("qu<Up><Tab>", "", "quest ", id="arrows go round to the last"),
        pytest.param("qu<Down><Down><Down><Down><Tab>", "", "quest ", id="arrows end at the last"),
        pytest.param("qu<Down>i ", "qui ", "", id="a letter drops the arrow's choice"),
        pytest.param("qu<Tab>f", "quick ", "f", id="the next letter commits"),
        pytest.param("qu<Tab> f", "quick ", "f", id="a space from habit is the one there is"),
        pytest.param("qu<Tab>  ", "quick  ", "", id="a second space is one"),
        pytest.param("qu<Tab>,", "quick,", "", id="a mark takes the space's place"),
        pytest.param("qu<Tab>?", "quick?", "", id="a question mark"),
        pytest.param("qu<Tab>)", "quick)", "", id="a closing bracket"),
        pytest.param('"qu<Tab>" ', '"quick" ', "", id="a quotation mark that closes"),
        pytest.param('qu<Tab>"', 'quick "', "", id="and one that opens"),
        pytest.param("qu<Tab>(", "quick (", "", id="an opening bracket leaves it"),
        pytest.param("qu<Tab>5", "quick 5", "", id="a number behind a word"),
        pytest.param("ann<Tab>'s ", "Anna's ", "", id="a genitive goes on with the word"),
        pytest.param("qu<Tab>-w ", "quick-w ", "", id="a hyphen goes on with the word"),
        pytest.param("qu<Tab><Enter>", "quick\n", "", id="Enter drops the space"),
        pytest.param("qu<Tab><Tab>", "quick ", "quick ", id="tab again takes the next word"),
        pytest.param("qu<Tab><Left>", "quick ", "", id="the cursor moves on behind the space"),
        pytest.param("qu<Tab><Back>", "", "qu", id="backspace undoes"),
        pytest.param("qu<Tab><Back> ", "qu ", "", id="undone is kept as typed"),
        pytest.param("qu<Tab><Back>i<Tab>", "", "quick ", id="undone, and another letter"),
        pytest.param("the <Tab><Back>", "the ", "", id="a next word undone is gone"),
        pytest.param("qu<Back><Back><Back>", "", "", id="letters go one by one, then the app's"),
        pytest.param("qu<Esc>2 ", "qu2 ", "", id="Escape frees the digits"),
        pytest.param("qu<Esc>i<Tab>", "qui\t", "", id="Escape is for the word"),
        pytest.param("qu<Esc> qu<Tab>", "qu ", "quick ", id="and for no other"),
        pytest.param("mp3 ", "mp3 ", "", id="a digit that chooses nothing is typed"),
        pytest.param("don't ", "don't ", "", id="an apostrophe inside"),
        pytest.param("well-known ", "well-known ", "", id="a hyphen inside"),
        pytest.param("3.5 ", "3.5 ", "", id="numbers pass"),
        pytest.param("(over) ", "(over) ", "", id="marks around a word"),
        pytest.param("naïve straße ", "naïve straße ", "", id="letters of every kind"),
        pytest.param("привет ", "привет ", "", id="of every alphabet"),
        pytest.param("qu<Left>", "qu", "", id="moving away commits"),
        pytest.param("qu<Media>", "qu", "", id="another key commits"),
        pytest.param("qu<F3>", "", "quest ", id="F3 takes the third"),
        pytest.param("the <F2>", "the ", "quietly ", id="and before a letter, too"),
        pytest.param("xyz<F1>", "xyz", "", id="F1 is the app's where nothing is suggested"),
        pytest.param("qu<F9>", "qu", "", id="and F9 where less is"),
        pytest.param("xyz<Tab>", "xyz\t", "", id="tab is the app's where nothing is suggested"),
        pytest.param("<Tab>", "\t", "", id="and before anything is typed"),
        pytest.param("qu<^a>", "qu", "", id="shortcuts commit and pass"),
        pytest.param("q<Shift>u<Tab>", "", "quick ", id="shift changes nothing"),
    ],
)
def test_keys(script: str, text: str, preedit: str) -> None:
    writer = Writer().keys(script)

    assert (writer.text, writer.typing.preedit) == (text, preedit)


@pytest.mark.parametrize(
    ("script", "text", "preedit"),
    [
        pytest.param("teh ", "", "the ", id="the space takes it"),
        pytest.param("teh fo", "the ", "fo", id="and the next letter commits it"),
        pytest.param("teh <Back>", "", "teh", id="backspace undoes"),
        pytest.param("teh <Back> ", "teh ", "", id="and it stays undone"),
        pytest.param("teh.", "teh.", "", id="only the space does"),
        pytest.param("the ", "the ", "", id="a word that is right stays"),
        pytest.param("qu ", "qu ", "", id="a completion is no correction"),
        pytest.param("teh<Esc> ", "teh ", "", id="Escape keeps it as typed"),
    ],
)
def test_autocorrect(script: str, text: str, preedit: str) -> None:
    writer = Writer(autocorrect=True).keys(script)

    assert (writer.text, writer.typing.preedit) == (text, preedit)


@pytest.mark.parametrize(
    ("script", "learned"),
    [
        ("the fox.", []),
        ("the fox. ", ["the fox."]),
        ("the fox! over", ["the fox!"]),
        ("the fox<Enter>", ["the fox"]),
        ("the fox. <Enter>", ["the fox."]),
        ("the qu<Tab><Enter>", ["the quick"]),
        ("the qu<Tab>. ", ["the quick."]),
        ("the fox<Back>g<Enter>", ["the fog"]),
        ("the fox <Back><Back>g<Enter>", ["the fog"]),
        ("he said “over.” ", ["he said “over.”"]),
        ("what?! ", ["what?!"]),
        ("3.5 of the<Enter>", ["3.5 of the"]),
        ("the fox<^Enter>", ["the fox"]),  # sent
        ("the fox <^a>", []),
        ("the fox <^a><Back>over<Enter>", ["over"]),  # all of it was deleted
        ("the fox <^v> over<Enter>", ["over"]),
        ("the fox <^c>over<Enter>", ["the fox over"]),
        ("the fox <Left>over<Enter>", ["the fox", "over"]),
        ("<Enter>... <Enter>", []),  # no word
        ("the caf<Compose>'es over<Enter>", ["the over"]),  # with letters that were not seen
    ],
)
def test_a_sentence_is_learned_when_it_ends_and_once(script: str, learned: list[str]) -> None:
    writer = Writer().keys(script)

    assert writer.learned == learned


def test_leaving_commits_and_learns() -> None:
    writer = Writer().keys("the qu<Tab>").leave()
    assert (writer.text, writer.learned, writer.typing.preedit) == ("the quick ", ["the quick"], "")
    assert writer.leave().learned == ["the quick"]

    writer.keys("fox").do(writer.typing.reset())
    assert writer.typing.preedit == ""
    assert writer.table == []


@pytest.mark.parametrize(
    "field",
    [
        *(Field(purpose) for purpose in (DIGITS, NUMBER, PHONE, URL, EMAIL, PASSWORD, PIN, TERMINAL)),
        Field(FREE_FORM, PRIVATE),
        Field(NAME, HIDDEN_TEXT),
    ],
)
def test_where_nobody_writes_every_key_passes_and_nothing_is_learned(field: Field) -> None:
    writer = Writer()
    writer.do(writer.typing.enter_field(field))

    writer.keys("hunter2 qu<Tab>1. <Back><Enter>the<^v>").leave()

    assert len(writer.passed) == 20
    assert (writer.learned, writer.asked, writer.table, writer.typing.preedit) == ([], [], [], "")
    writer.typing.say_text_before("hunter2 ")
    writer.do(writer.typing.enter_field(Field(ALPHA)))
    writer.keys("qu")
    assert writer.asked == [("", "q"), ("", "qu")]


def test_what_came_before_the_field_said_that_it_is_private_is_not_learned() -> None:
    writer = Writer().keys("hunter")
    writer.do(writer.typing.enter_field(Field(PASSWORD)))
    assert (writer.text, writer.typing.preedit) == ("hunter", "")
    writer.keys("2").leave()
    writer.do(writer.typing.enter_field(Field()))
    writer.keys("over").leave()
    assert (writer.text, writer.learned) == ("hunter2over", ["over"])


def test_what_is_asked() -> None:
    writer = Writer().keys("The qu<Tab>f")
    assert writer.asked == [
        *(("", "T"), ("", "Th"), ("", "The"), ("The ", "")),
        *(("The ", "q"), ("The ", "qu"), ("The quick ", ""), ("The quick ", "f")),
    ]
    assert Writer(next_words=False).keys("the ").asked[-1] == ("", "the")
    assert ("", "x" * 40) in Writer().keys("x" * 50).asked
    assert ("", "x" * 41) not in Writer().keys("x" * 50).asked


def test_the_text_that_the_app_gives_is_the_context() -> None:
    writer = Writer()
    writer.typing.say_text_before("dear Anna,\nsee you ")
    writer.keys("q")
    assert writer.asked[-1] == ("see you ", "q")
    writer.keys("uick ")
    writer.typing.say_text_before("dear Anna,\nsee you ")  # older than the keys
    writer.keys("q")
    assert writer.asked[-1] == ("see you quick ", "q")
    writer.do(writer.typing.reset())  # the cursor was moved
    writer.typing.say_text_before("dear ")
    writer.keys("q")
    assert writer.asked[-1] == ("dear ", "q")


def test_a_sentence_ends_where_the_app_puts_the_cursor_elsewhere() -> None:
    writer = Writer()
    said = writer.typing.say_text_before
    said("")
    writer.keys("the fox ")
    for text in ("t", "the", "the fox"):  # late, as apps are
        writer.do(said(text))
    writer.keys("<Back><Back>")
    writer.do(said("the fox"))
    writer.do(said("the fo"))
    writer.keys("x is ")
    writer.do(said("The fox is "))  # the app has put a capital there
    assert writer.learned == []
    writer.do(said(""))  # the message is sent
    assert writer.learned == ["the fox is"]
    writer.keys("over ")
    writer.do(writer.typing.reset())  # a click
    writer.do(said("ov"))
    writer.keys("x<Enter>")
    assert writer.learned == ["the fox is", "over", "x"]

    writer.keys("the qu")
    writer.do(said("ovx\nthe qu"))  # IBus has given it the letters, as the focus goes
    assert writer.leave().learned == ["the fox is", "over", "x", "the qu"]

    writer = Writer().keys("the fox ")  # an app that says nothing
    writer.do(writer.typing.reset())
    assert writer.learned == ["the fox"]


def test_a_long_context_is_cut_at_a_word_and_mostly_at_the_same_place() -> None:
    writer = Writer()
    begins = set()
    for length in range(1000, 1100, 5):
        writer.typing.say_text_before(("wort " * 400)[:length])
        writer.keys("q<Back>")
        begins.add(length - len(writer.asked[-1][0]))
        assert writer.asked[-1][0].startswith("wort ")
        assert 190 <= len(writer.asked[-1][0]) <= 400
    assert begins == {805}


# An agent that is slow, or dead


def test_a_silent_agent_means_plain_typing() -> None:
    writer = Writer(silent=True).keys("The quick (fox), 3 times.<Enter>")
    assert (writer.text, writer.learned, writer.table) == (
        "The quick (fox), 3 times.\n",
        ["The quick (fox), 3 times."],
        [],
    )


@pytest.mark.parametrize(("key", "text"), [("<Tab>", "qu\t"), ("<Down>", "qu"), ("<F2>", "qu")])
def test_a_choice_waits_for_the_answer_and_is_the_app_s_without_one(key: str, text: str) -> None:
    writer = Writer(silent=True).keys(f"qu{key}")
    assert (writer.text, writer.typing.preedit) == ("", "qu")
    assert writer.typing.question is not None
    writer.do(writer.typing.answer(writer.typing.question, None))
    assert writer.text == text
    assert [each.kind for each in writer.passed] == [_named(key[1:-1]).kind]


def test_a_choice_that_waited_is_made() -> None:
    writer = Writer(silent=True).keys("qu2")
    writer.silent = False
    writer.agent()
    assert writer.typing.preedit == "quietly "

    writer = Writer(silent=True).keys("the <Tab>")
    writer.silent = False
    writer.agent()
    assert (writer.text, writer.typing.preedit) == ("the ", "quick ")


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("qu<Tab>x ", "qu\tx "),
        ("qu2x ", "qu2x "),
        ("mp3 ", "mp3 "),
        ("qu<Down> ", "qu "),
        ("qu<Tab><Enter>", "qu\t\n"),
    ],
)
def test_keys_that_come_before_the_answer_lose_nothing(script: str, text: str) -> None:
    assert Writer(silent=True).keys(script).text == text


def test_an_answer_to_an_old_question_is_dropped() -> None:
    writer = Writer(silent=True).keys("q")
    old = writer.typing.question
    writer.keys("u")
    assert old is not None
    writer.do(writer.typing.answer(old, suggestions("q")))
    assert writer.table == []
    assert writer.typing.choose(0).actions == []


def test_a_click_takes_a_suggestion() -> None:
    writer = Writer().keys("qu")
    writer.do(writer.typing.choose(2))
    assert writer.typing.preedit == "quest "
    assert writer.typing.is_taken
    writer.do(writer.typing.choose(99))
    assert writer.typing.preedit == "quest "


# Keys of X11


@pytest.mark.parametrize(
    ("symbol", "state", "character", "key"),
    [
        (ord("q"), 0, "q", Key(KeyKind.CHARACTER, "q")),
        (ord("Q"), 1, "Q", Key(KeyKind.CHARACTER, "Q")),
        (ord("q"), 1 << 2, "q", Key(KeyKind.CHARACTER, "q", True)),
        (ord("q"), 1 << 3, "q", Key(KeyKind.CHARACTER, "q", True)),
        (0xE9, 1 << 7, "é", Key(KeyKind.CHARACTER, "é")),  # by AltGr
        (0x6C6, 0, "ф", Key(KeyKind.CHARACTER, "ф")),
        (0x20, 0, " ", Key(KeyKind.CHARACTER, " ")),
        (0xFFB1, 0, "1", Key(KeyKind.CHARACTER, "1")),  # of the number block
        (0xFF08, 0, "\b", Key(KeyKind.BACKSPACE)),
        (0xFF09, 0, "\t", Key(KeyKind.TAB)),
        (0xFE20, 1, "", Key(KeyKind.OTHER)),  # shift and tab
        (0xFF0D, 0, "\r", Key(KeyKind.ENTER)),
        (0xFF8D, 0, "\r", Key(KeyKind.ENTER)),
        (0xFF1B, 0, "\x1b", Key(KeyKind.ESCAPE)),
        (0xFF51, 0, "", Key(KeyKind.MOVE)),
        (0xFF52, 0, "", Key(KeyKind.UP)),
        (0xFFFF, 0, "\x7f", Key(KeyKind.DELETE)),
        (0xFFE1, 0, "", Key(KeyKind.MODIFIER)),
        (0xFE03, 0, "", Key(KeyKind.MODIFIER)),  # AltGr
        (0xFFC2, 0, "", Key(KeyKind.CHOICE, "5")),
        (0xFFC7, 0, "", Key(KeyKind.OTHER)),  # F10
        (0xFE51, 0, "", Key(KeyKind.DEAD, "\u0301")),
        (0xFE90, 0, "", Key(KeyKind.COMPOSE)),  # a dead key without an accent that goes with letters
        (0xFF20, 0, "", Key(KeyKind.COMPOSE)),
    ],
)
def test_keys_of_x11(symbol: int, state: int, character: str, key: Key) -> None:
    assert key_of(symbol, state, character) == key
    assert is_release(state | 1 << 30)
    assert not is_release(state)


@pytest.mark.parametrize(
    ("accent", "then", "typed"),
    [
        ("\u0301", "e", "é"),
        ("\u0308", "u", "ü"),
        ("\u0303", "n", "ñ"),
        ("\u030c", "s", "š"),
        ("\u0327", "c", "ç"),
        ("\u0302", "A", "Â"),
        ("\u0301", "х", "х\u0301"),
    ],
)
def test_dead_keys_are_letters_of_the_word(accent: str, then: str, typed: str) -> None:
    writer = Writer().keys("qu")
    writer.press(Key(KeyKind.DEAD, accent))
    writer.keys(f"{then}x ")
    assert writer.text == f"qu{typed}x "


def test_an_accent_by_itself_and_one_that_is_taken_back() -> None:
    writer = Writer()
    writer.press(Key(KeyKind.DEAD, "\u0301"))
    assert writer.typing.preedit == "´"
    writer.keys("<Back>ma")
    writer.press(Key(KeyKind.DEAD, "\u0303"))
    writer.keys("n<Tab>")
    assert (writer.text, writer.typing.preedit) == ("", "mañana ")
