"""Public texts of several languages: codes, files, bad input, the word list, and what time allows."""

from __future__ import annotations

import gzip
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fedstill_proto.errors import InvalidValue
from fedstill_server.commands.making_progress import TimeLeft, shown_progress
from fedstill_server.data.errors import ExamplesError
from fedstill_server.tasks.interface import FleetFiles
from fedstill_server.tasks.text import task
from fedstill_server.tasks.text.keyboard import KeyboardPlan
from fedstill_server.tasks.text.languages.budget import chosen_plan
from fedstill_server.tasks.text.languages.codes import language_code
from fedstill_server.tasks.text.languages.detection import detected_language, frequency_language
from fedstill_server.tasks.text.languages.encodings import utf8_text
from fedstill_server.tasks.text.languages.public_texts import LanguageTexts, read_public_texts
from fedstill_server.tasks.text.languages.word_list import word_list_of

from tests.server.keyboard_texts import ENGLISH, GERMAN, write_languages


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("en", "en"),
        ("DE", "de"),
        ("pt_br", "pt-BR"),
        ("zh-hant", "zh-Hant"),
        ("sr-latn-rs", "sr-Latn-RS"),
        ("es-419", "es-419"),
        ("de-1996", "de-1996"),
        ("ca-valencia", "ca-valencia"),
        ("fil", "fil"),
        ("gsw-CH", "gsw-CH"),
    ],
)
def test_codes_have_their_usual_capitals(name: str, code: str) -> None:
    assert language_code(name) == code


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("english", "is en meant"),
        ("eng", "is en meant"),
        ("Deutsch", "is de meant"),
        ("germn", "is de meant"),
        ("ua", "is uk meant"),
        ("jp", "is ja meant"),
        ("xx", "such as en, de or pt-BR"),
        ("q", "no code"),
        ("en-", "no code"),
        ("e1", "no code"),
        ("en-GB-x-", "no code"),
        ("texts", "no code"),
        ("", "no code"),
    ],
)
def test_what_is_no_code_is_refused(name: str, hint: str) -> None:
    with pytest.raises(InvalidValue, match=hint):
        language_code(name)


WRITTEN = {
    "de": "Grüße aus München. Das ist schön, aber für die Füße zu heiß.\nÄpfel und Öl, bitte – sagte Jörg.\n",
    "fr": "Le garçon a déjà mangé à l'école. Ça va très bien; c'était hier.\n",
    "es": "El niño comió mañana una piña ¿dónde está el corazón? Señor, aquí.\n",
    "pl": "Zażółć gęślą jaźń. Proszę, wróć później, będzie świetnie.\n",
    "cs": "Příliš žluťoučký kůň úpěl ďábelské ódy.\n",
    "tr": "Bugün hava çok güzel, değil mi? İyi akşamlar, şey.\n",
    "ru": "Привет, как дела сегодня? Я думаю, что всё будет хорошо.\n",
    "el": "Καλημέρα, τι κάνεις σήμερα; Όλα καλά.\n",
    "ar": "مرحبا كيف حالك اليوم\n",
    "ja": "今日はとても良い天気ですね。カメラを買いました。\n",
    "zh": "今天天气很好，我们去公园吧。\n",
    "ko": "오늘 날씨가 정말 좋네요. 안녕하세요\n",
}


@pytest.mark.parametrize(
    ("language", "encoding", "named"),
    [
        ("de", "latin-1", "byte 2 is FC; it seems to be Latin-1"),
        ("fr", "latin-1", "byte 6 is E7; it seems to be Latin-1"),
        ("es", "cp1252", "it seems to be Latin-1"),
        ("de", "utf-16", "byte 0 begins its byte order mark FF FE; it seems to be UTF-16"),
        ("ru", "utf-16-le", "it seems to be UTF-16LE"),
        ("de", "utf-16-be", "byte 0 is 00; it seems to be UTF-16BE"),
        ("de", "utf-32", "it seems to be UTF-32"),
        ("de", "cp437", "it seems to be IBM code page 437"),
        ("pl", "cp1250", "it seems to be windows-1250"),
        ("cs", "cp1250", "it seems to be windows-1250"),
        ("pl", "iso8859-2", "it seems to be Latin-2"),
        ("tr", "cp1254", "it seems to be windows-1254"),
        ("ru", "cp1251", "it seems to be windows-1251"),
        ("ru", "koi8-r", "it seems to be KOI8-R"),
        ("el", "cp1253", "it seems to be windows-1253"),
        ("ar", "cp1256", "it seems to be windows-1256"),
        ("ja", "shift_jis", "it seems to be Shift JIS"),
        ("ja", "euc_jp", "it seems to be EUC-JP"),
        ("zh", "gb18030", "it seems to be GB18030"),
        ("ko", "euc_kr", "it seems to be EUC-KR"),
    ],
)
def test_other_encodings_are_named(tmp_path: Path, language: str, encoding: str, named: str) -> None:
    file = tmp_path / f"{language}.txt"
    file.write_bytes((WRITTEN[language] * 5).encode(encoding, "ignore"))

    with pytest.raises(
        ExamplesError, match=rf"{language}\.txt: is not UTF-8: .*{named}.*iconv -f \S+ -t UTF-8"
    ):
        read_public_texts(tmp_path)


@pytest.mark.parametrize("language", WRITTEN)
def test_utf_8_is_read_with_and_without_a_byte_order_mark(language: str) -> None:
    assert utf8_text(WRITTEN[language].encode()) == WRITTEN[language]
    assert utf8_text(WRITTEN[language].encode("utf-8-sig")) == WRITTEN[language]


def _folder(path: Path) -> None:
    path.mkdir()


def _empty_language(path: Path) -> None:
    write_languages(path)
    (path / "fr").mkdir()


def _named(name: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        write_languages(path)
        (path / name).mkdir()
        (path / name / "a.txt").write_text("one two")

    return write


def _file_beside(path: Path) -> None:
    write_languages(path)
    (path / "notes.txt").write_text("one two")


def _content(content: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(content)

    return write


@pytest.mark.parametrize(
    ("write", "message"),
    [
        pytest.param(_folder, r"public: holds no \.txt file", id="empty folder"),
        pytest.param(
            _empty_language, r"public/fr: holds no \.txt file; give texts of fr", id="empty language"
        ),
        pytest.param(
            _named("english"), "public/english: 'english' is no code of a language.*is en meant", id="name"
        ),
        pytest.param(_named("xx"), "public/xx: 'xx' is no code", id="unknown code"),
        pytest.param(_named("de-"), "public/de-: 'de-' is no code", id="half a code"),
        pytest.param(
            _file_beside, r"notes\.txt: 'notes' is no code.*as the others", id="no code beside codes"
        ),
        pytest.param(_content(b""), "public: holds no text", id="empty file"),
        pytest.param(_content(b"\n \n\t\n"), "public: holds no text", id="blank lines"),
        pytest.param(_content(b"\xef\xbb\xbf"), "public: holds no text", id="byte order mark alone"),
        pytest.param(
            _content(b"short\n" + b"word " * 30_000),
            "line 2 has 149999 characters; 100000 at most",
            id="one long line",
        ),
        pytest.param(
            _content(b"x" * (3 << 20)), "line 1 has 3145728 characters", id="3 MB without a line break"
        ),
        pytest.param(_content(b"%PDF-1.7\n%\xe2\xe3"), "is a PDF document, no text", id="PDF"),
        pytest.param(_content(gzip.compress(b"words " * 99)), "is a gzip archive, no text", id="gzip"),
        pytest.param(_content(b"PK\x03\x04\x14\x00\x08"), "is a ZIP archive or office document", id="docx"),
        pytest.param(_content(b"\x89PNG\r\n\x1a\n\x00\x00"), "is a PNG picture", id="PNG"),
        pytest.param(_content(b"SQLite format 3\x00\x10"), "is an SQLite database", id="SQLite"),
        pytest.param(_content(bytes(range(256)) * 20), "is no text: byte 0 is 00", id="bytes"),
        pytest.param(_content(b"some words\x00more"), "is no text: byte 10 is 00", id="a zero"),
        pytest.param(_content("grün".encode()[:3]), "is cut off: byte 2 is C3", id="half a letter"),
        pytest.param(
            _content(b"one two\nthree four\nfive\n"), "5 words; a language needs 1000 or more", id="few words"
        ),
    ],
)
def test_what_cannot_be_learned_is_said_at_once(
    tmp_path: Path, write: Callable[[Path], None], message: str
) -> None:
    write(tmp_path / "public")
    with pytest.raises(ExamplesError, match=message):
        read_public_texts(tmp_path / "public", least_words=1_000)


def test_languages_are_folders_and_files_of_their_code(tmp_path: Path) -> None:
    notices: list[str] = []
    (tmp_path / ".git").mkdir()
    german, english = read_public_texts(write_languages(tmp_path / "public"), on_notice=notices.append)

    assert (german.language, english.language) == ("de", "en")
    assert sorted(german.texts) == sorted(GERMAN)
    assert list(english.texts) == ENGLISH
    assert english.words == 6 * len(ENGLISH)
    assert notices == []


def test_files_without_codes_are_one_language(tmp_path: Path) -> None:
    for name in ("chat.txt", "mail.txt", ".hidden.txt"):
        (tmp_path / name).write_text("\n".join(ENGLISH))

    (told,) = read_public_texts(tmp_path, language="EN")
    (found,) = read_public_texts(tmp_path, detect=lambda texts: "nl")

    assert (told.language, len(told.texts)) == ("en", 2 * len(ENGLISH))
    assert found.language == "nl"
    (tmp_path / "codes").mkdir()
    with pytest.raises(ExamplesError, match=r"--language en: the names in .* say it already \(de, en\)"):
        read_public_texts(write_languages(tmp_path / "codes" / "public"), language="en")


@pytest.mark.parametrize(
    ("texts", "notice", "kept"),
    [
        (
            ["the same line"] * 990 + [f"line {n}" for n in range(10)],
            "989 of 1,000 lines .99%. are copies",
            11,
        ),
        (["ok"] * 60 + [f"line {n}" for n in range(40)], "counted as often as they are there", 100),
        (["fÃ¼r die GrÃ¶ÃŸe"] * 3, "look like UTF-8 that was read as Latin-1", 3),
    ],
)
def test_doubtful_texts_are_taken_with_a_notice(
    tmp_path: Path, texts: list[str], notice: str, kept: int
) -> None:
    (tmp_path / "en.txt").write_text("\n".join(texts))
    notices: list[str] = []

    (read,) = read_public_texts(tmp_path, on_notice=notices.append)

    assert len(read.texts) == kept
    assert len([each for each in notices if re.search(notice, each)]) == 1


def test_a_language_is_told_by_its_words() -> None:
    pytest.importorskip("wordfreq")
    assert detected_language(ENGLISH) == "en"
    assert detected_language(GERMAN) == "de"
    assert detected_language(["qwx zzk", "blorf grmpf"]) == ""
    assert [frequency_language(code) for code in ("pt-BR", "no", "hr", "en")] == ["pt", "nb", "sh", "en"]


def texts_of(language: str, *texts: str) -> LanguageTexts:
    return LanguageTexts(language=language, texts=texts, words=sum(len(text.split()) for text in texts))


def test_a_word_that_is_seen_once_is_taken_if_its_language_knows_it() -> None:
    english = texts_of("en", "the cat sat", "the cat zat", "a rare visit")

    words = word_list_of([english], size=200, known=lambda language: {"visit", "sat", "unseen"})

    for word in ("the", "cat", "sat", "visit"):
        assert word in words
    for word in ("zat", "rare", "unseen"):
        assert word not in words


def test_a_list_of_two_languages_has_the_words_of_both_once() -> None:
    english, german = texts_of("en", *ENGLISH, "hand in hand"), texts_of("de", *GERMAN, "Hand in Hand")

    words = word_list_of([german, english], size=150, known=lambda language: ())

    for word in ("tomorrow", "window", "hand", "überall", "mädchen"):
        assert words.number(word) is not None
    assert len(set(words.entries)) == len(words.entries)
    alone = word_list_of([english], size=150, known=lambda language: ())
    assert {entry for _, entry in alone.words} <= set(words.entries)


def test_minutes_choose_how_a_keyboard_is_made(tmp_path: Path) -> None:
    kept, plan = tmp_path / "choices.json", KeyboardPlan()

    def chosen(minutes: float, tokens: int = 60_000) -> tuple[bool, int, int]:
        choice = chosen_plan(plan, tokens=tokens, words=6_000, minutes=minutes, kept=kept)
        return choice.taught, choice.plan.alone.epochs, choice.plan.networks

    assert chosen(10_000) == (True, 6, 1)
    assert chosen(10_000, tokens=300_000) == (True, 6, 2)
    taught, epochs, _ = chosen(0.001)
    assert (taught, epochs) == (False, 2)
    again = chosen_plan(plan, tokens=60_000, words=6_000, minutes=10_000, kept=kept)
    assert again == chosen_plan(
        plan, tokens=60_000, words=6_000, minutes=10_000, kept=kept
    )  # as written down
    kept.write_text("{")
    assert chosen(10_000)[0]


@pytest.mark.parametrize(
    ("steps", "left"),
    [
        ([(0, "a", 0, 100), (10, "a", 50, 100)], "0:10 left"),
        ([(0, "a", 0, 100), (60, "a", 25, 100)], "3:00 left"),
        ([(0, "a", 50, 100), (10, "a", 60, 100)], "0:40 left"),  # it goes on, with half of it done before
        ([(0, "a", 0, 100), (1, "a", 1, 100)], ""),
        ([(0, "a", 0, 100), (60, "a", 100, 100)], ""),
        ([(0, "a", 0, 9), (60, "a", 8, 9), (60, "b", 0, 100), (70, "b", 10, 100)], "1:30 left"),
    ],
)
def test_time_left(steps: list[tuple[float, str, int, int]], left: str) -> None:
    now = [0.0]
    times, shown = TimeLeft(clock=lambda: now[0]), ""
    for at, what, done, total in steps:
        now[0] = at
        shown = times.left(what, done, total)
    assert shown == left


def test_without_a_terminal_progress_is_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with shown_progress("nothing yet") as on_progress:
        on_progress("reading", 0, 1)
        on_progress("student", 1, 4)
        on_progress("student", 2, 4)

    assert capsys.readouterr().err.splitlines() == ["reading", "student: 25%"]


@pytest.mark.parametrize(
    ("language", "installed", "notice"),
    [
        (
            "en",
            False,
            "wordfreq is not installed: .*7 stay unknown instead of 3; pip install 'fedstill.keyboard.'",
        ),
        ("", False, "its language could not be told without wordfreq"),
        ("xh", True, "wordfreq has no words of 'xh'"),
    ],
)
def test_what_wordfreq_cannot_say_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, language: str, installed: bool, notice: str
) -> None:
    if not installed:
        monkeypatch.setitem(sys.modules, "wordfreq", None)
        monkeypatch.setattr(task, "find_spec", lambda name: None)
    (tmp_path / "chat").write_text("\n".join(ENGLISH))
    files = FleetFiles(public=tmp_path / "chat", families=("gru-4-6",), folder=tmp_path)

    made = task.TextTask(quick=True, language=language, dictionary=10).read(files)

    assert any(re.search(notice, each) for each in made.notices), made.notices
