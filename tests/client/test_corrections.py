"""What letters were meant to be: errors, accents, apostrophes, layouts, in every alphabet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from fedstill_client.device_description import DeviceDescription, DeviceError
from fedstill_client.keyboard.correction.channel import EDIT, Channel, cost_of
from fedstill_client.keyboard.correction.corrector import MAX_LETTERS, Corrector, Meant, edits_allowed
from fedstill_client.keyboard.correction.layouts import (
    key_distance,
    layout_named,
    layout_of_languages,
    layouts,
)
from fedstill_client.keyboard.correction.letters import base, is_accent
from fedstill_client.keyboard.suggester import Suggester
from fedstill_client.keyboard.user_ngrams import UserNgrams
from fedstill_proto.errors import InvalidValue, UnknownName
from fedstill_proto.text.lexicon import NEVER, Lexicon
from fedstill_proto.text.vocabulary import MARKS, SPECIAL, WordList

QWERTY = layout_named("qwerty")

# Of each language, the more frequent first.
_TEXT = """
the and that this with have from they their there which would about could should people because before
through believe receive received separate definitely until weird friend government necessary tomorrow
beginning occurred environment knowledge library different probably really surprise temperature question
important form from quite quiet angel angle casual causal good morning night thank you i'm i'll it's
don't can't won't we're they've wouldn't o'clock impudent immediate image demand much bertram manner
dejected cologne school grasp über für schön schöne schöner schon grüße größe straße münchen köln können
möchte ähnlich wahrscheinlich heiße fußball mädchen vielleicht natürlich mañana españa niño año también
corazón está canción rápido déjà été français garçon noël cœur forêt hôtel élève c'est j'ai l'homme
l'eau aujourd'hui qu'il d'accord smørrebrød blåbær hånd kjærlighet łódź źródło część ćwiczenie güneş
çocuk ığdır şehir kız привет сегодня спасибо хорошо пожалуйста завтра человек время ещё мой здравствуйте
конечно вообще привіт сьогодні будь ласка дякую їжак здравей благодаря добър καλημέρα ευχαριστώ άνθρωπος
σήμερα παρακαλώ θάλασσα שלום תודה בוקר מחר ילדים السلام أحمد إلى مدرسة شكرا كتاب القاهرة नमस्ते धन्यवाद
विद्यालय हिन्दी đường tiếng việt người được
"""
LISTED = tuple(_TEXT.split())
WORDS = WordList((*SPECIAL, *MARKS, *dict.fromkeys(LISTED)))


class Frequencies:
    """A student that knows how frequent words are, by their order, and nothing of contexts."""

    def next_words(self, context: Sequence[int]) -> np.ndarray:
        chances = 1 / (20 + np.arange(len(WORDS), dtype=np.float64))
        return np.asarray(chances / chances.sum())

    def along(self, text: Sequence[int]) -> Iterator[np.ndarray]:
        return (self.next_words(text) for _ in text)


def suggester(*texts: str) -> Suggester:
    own = UserNgrams(WORDS)
    for text in texts:
        own.add(text)
    return Suggester(own, Frequencies())


@pytest.fixture(scope="module")
def keyboard() -> Suggester:
    return suggester()


def suggested(found: Suggester, typed: str, *, k: int = 3, layout: str = "") -> list[str]:
    return [each.word.lower() for each in found.suggest("", typed, k, layout=layout)]


class TestWhatIsSuggested:
    @pytest.mark.parametrize(
        ("typed", "meant"),
        [
            # H20
            ("uber", "über"),
            ("munch", "münchen"),
            ("manana", "mañana"),
            ("deja", "déjà"),
            ("koln", "köln"),
            ("schone", "schöne"),
            ("grusse", "grüße"),
            # others: two letters for one, signs that Unicode keeps whole, one and two letters
            ("ub", "über"),
            ("gruesse", "grüße"),
            ("strasse", "straße"),
            ("fussb", "fußball"),
            ("moechte", "möchte"),
            ("aehnlich", "ähnlich"),
            ("coeur", "cœur"),
            ("foret", "forêt"),
            ("eleve", "élève"),
            ("garcon", "garçon"),
            ("nino", "niño"),
            ("tambien", "también"),
            ("smorrebrod", "smørrebrød"),
            ("kjaerlig", "kjærlighet"),
            ("haand", "hånd"),
            ("lodz", "łódź"),
            ("zrodlo", "źródło"),
            ("gunes", "güneş"),
            ("igdir", "ığdır"),
            ("cocuk", "çocuk"),
            ("duong", "đường"),
            ("nguoi", "người"),
            ("καλημερα", "καλημέρα"),
            ("ανθρωπος", "άνθρωπος"),
            ("еще", "ещё"),
            ("мои", "мой"),
            ("іжак", "їжак"),
            ("احمد", "أحمد"),
            ("الى", "إلى"),
            ("مدرسه", "مدرسة"),
            ("ילדימ", "ילדים"),
        ],
    )
    def test_accents_are_found_from_bare_letters(self, keyboard: Suggester, typed: str, meant: str) -> None:
        assert suggested(keyboard, typed)[0] == meant

    @pytest.mark.parametrize(
        ("typed", "meant"),
        [
            # H21
            ("превет", "привет"),
            ("прмвет", "привет"),
            ("сегдня", "сегодня"),
            # others
            ("привеь", "привет"),
            ("рпивет", "привет"),
            ("спосибо", "спасибо"),
            ("пожалуста", "пожалуйста"),
            ("здраствуйте", "здравствуйте"),
            ("чиловек", "человек"),
            ("завтрв", "завтра"),
            ("првиіт", "привіт"),
            ("дякуб", "дякую"),
            ("здраевй", "здравей"),
            ("благдаря", "благодаря"),
            ("ευχαρηστώ", "ευχαριστώ"),
            ("σημρεα", "σήμερα"),
            ("שלןם", "שלום"),
            ("תןדה", "תודה"),
            ("السلم", "السلام"),
            ("كاتب", "كتاب"),
            ("नमसते", "नमस्ते"),
            ("विदयालय", "विद्यालय"),
            ("recieve", "receive"),
            ("definately", "definitely"),
            ("tomorow", "tomorrow"),
            ("govenrmetn", "government"),
            ("wahrscheinlcih", "wahrscheinlich"),
            ("vielleciht", "vielleicht"),
            ("corzaón", "corazón"),
            ("francasi", "français"),
        ],
    )
    def test_errors_are_corrected_in_every_alphabet(
        self, keyboard: Suggester, typed: str, meant: str
    ) -> None:
        assert meant in suggested(keyboard, typed)

    @pytest.mark.parametrize(
        ("typed", "meant"),
        [
            ("im", "i'm"),  # H22
            ("ill", "i'll"),
            ("its", "it's"),
            ("dont", "don't"),
            ("cant", "can't"),
            ("wont", "won't"),
            ("were", "we're"),
            ("theyv", "they've"),
            ("wouldn", "wouldn't"),
            ("oclock", "o'clock"),
            ("cest", "c'est"),
            ("jai", "j'ai"),
            ("ja", "j'ai"),
            ("lhomme", "l'homme"),
            ("lea", "l'eau"),
            ("aujourdhui", "aujourd'hui"),
            ("quil", "qu'il"),
            ("daccord", "d'accord"),
        ],
    )
    def test_apostrophes_are_put_in(self, keyboard: Suggester, typed: str, meant: str) -> None:
        assert meant in suggested(keyboard, typed)

    @pytest.mark.parametrize(
        ("right", "wrong"),
        [
            ("receive", "recieve"),  # H24
            ("believe", "beleive"),
            ("separate", "seperate"),
            ("definitely", "definately"),
            ("tomorrow", "tommorow"),
            ("government", "goverment"),
            ("friend", "freind"),
            ("weird", "wierd"),
            ("necessary", "neccesary"),
            ("until", "untill"),
            ("their", "thier"),
            ("wahrscheinlich", "warscheinlich"),
            ("сегодня", "севодня"),
            ("mañana", "manana"),
        ],
    )
    def test_a_whole_word_stays_first_before_the_owner_s_errors(self, right: str, wrong: str) -> None:
        found = suggester(f"{wrong} it", f"{wrong} it", f"{wrong} it")
        assert suggested(found, right)[0] == right
        assert suggested(found, wrong)[0] == right
        both = suggested(found, right[:3], k=20)
        assert wrong not in both or both.index(right) < both.index(wrong)

    def test_a_word_that_is_meant_stays(self) -> None:
        found = suggester(*["thier it"] * 12, *["zebrafish it"] * 2)
        assert suggested(found, "thier")[0] == "thier"
        assert suggested(found, "zebr") == ["zebrafish"]

    @pytest.mark.parametrize(
        "word",
        [
            "anna",
            "tom",
            "jon",
            "mornings",
            "quieten",
            "schöné",
            "gôod",
            "theirs",
            "angelo",
            "zürich",
            "ana",
            "niko",
        ],
    )
    def test_own_words_that_are_no_errors_stay(self, word: str) -> None:
        assert suggested(suggester(word, word), word)[0] == word

    def test_the_letter_that_is_typed_is_no_suggestion(self, keyboard: Suggester) -> None:
        found = suggester("a a a y y y e e e")
        for letter in "aye":
            assert letter not in suggested(found, letter, k=20)

    @pytest.mark.parametrize("word", ["form", "from", "quite", "quiet", "angel", "angle", "casual", "causal"])
    def test_a_whole_word_is_not_taken_for_another(self, keyboard: Suggester, word: str) -> None:
        assert suggested(keyboard, word)[0] == word

    def test_what_is_no_word_is_not_suggested(self, keyboard: Suggester) -> None:
        for typed in ("t", "th", "xqz", "recieve", "превет"):
            assert typed not in suggested(keyboard, typed, k=20)

    def test_capitals_of_what_is_typed_stay(self, keyboard: Suggester) -> None:
        assert [each.word for each in keyboard.suggest("and then", "Recieve", 1)] == ["Receive"]
        assert [each.word for each in keyboard.suggest("and then", "KOLN", 1)] == ["KÖLN"]
        assert [each.word for each in keyboard.suggest("and then", "Goodmornin", 1)] == ["Good morning"]

    @pytest.mark.parametrize(
        ("typed", "meant"),
        [("goodmorning", "good morning"), ("goodnig", "good night"), ("thankyou", "thank you")],
    )
    def test_a_space_that_was_left_out(self, keyboard: Suggester, typed: str, meant: str) -> None:
        assert suggested(keyboard, typed)[0] == meant

    def test_an_article_before_any_word_of_a_language_that_leaves_out_its_vowel(self) -> None:
        found = suggester(
            *["l'" + word for word in ("air", "art", "an", "un", "eau", "or", "île", "ami")] * 2
        )
        found.observe("l'heure l'heure l'une l'une l'idée l'idée")
        assert suggested(found, "lhôtel")[0] == "l'hôtel"
        assert suggested(found, "l'élè")[0] == "l'élève"
        assert suggested(suggester(), "lhôtel") == ["hôtel"]


class TestBareForms:
    """Dictionaries of what people write have words without their accents, too."""

    DICTIONARY = (
        "dont",
        "manana",
        "tres",
        "im",
        "cote",
        "uber",
        "aqui",
        "deja",
        "tambien",
        "francais",
        "zurich",
    )
    FREQUENT = ("don't", "mañana", "très", "i'm", "aquí", "también", "français", "déjà")

    @pytest.fixture(scope="class")
    def found(self) -> Suggester:
        words = WordList((*SPECIAL, *MARKS, *self.FREQUENT, "côté", "ill", "i'll", "schon", "schön"))
        frequency = np.full(len(words) + len(self.DICTIONARY), -10.0)
        frequency[: len(SPECIAL)] = NEVER
        for word in (*self.FREQUENT, "i'll", "schon"):
            frequency[words.number(word)] = -8.0
        own = UserNgrams(words, Lexicon(("en",), self.DICTIONARY, frequency.astype(np.float16)))
        own.add("über über Zürich Zürich zurich")
        return Suggester(own, _Even(len(words)))

    @pytest.mark.parametrize("word", [*FREQUENT, "über"])
    def test_the_word_with_accents_is_first(self, found: Suggester, word: str) -> None:
        bare = "".join(base(letter) for letter in word if letter != "'")
        assert suggested(found, bare)[0] == word
        assert bare in suggested(found, bare) or bare not in self.DICTIONARY

    @pytest.mark.parametrize("word", ["ill", "schon", "cote", "zurich"])
    def test_words_of_their_own_stay_first(self, found: Suggester, word: str) -> None:
        assert suggested(found, word)[0] == word


class _Even:
    """A student to which all words are alike."""

    def __init__(self, words: int) -> None:
        self._chances = np.full(words, 1 / words)

    def next_words(self, context: Sequence[int]) -> np.ndarray:
        return self._chances

    def along(self, text: Sequence[int]) -> Iterator[np.ndarray]:
        return (self._chances for _ in text)


class TestLikelihoods:
    def meant(
        self, typed: str, word: str, *, layout: str = "qwerty", channel: Channel | None = None
    ) -> float:
        found = Corrector([word], channel).meant(typed, layout_named(layout))
        return float(found.likelihoods[0]) if len(found.places) else 0.0

    def test_single_errors_cost_what_the_channel_says(self) -> None:
        channel = Channel(first=1.0)
        for typed, chance in (
            ("kind", 1.0),
            ("kimd", channel.near),
            ("knid", channel.transposed),
            ("knd", channel.missing),
            ("kintd", channel.extra),
            ("kinnd", channel.extra_double),
        ):
            assert self.meant(typed, "kind", channel=channel) == pytest.approx(chance, rel=1e-2), typed
        assert self.meant("ki", "kind", channel=channel) == 1.0
        assert self.meant("kimd", "kindness", channel=channel) == pytest.approx(
            channel.near * channel.unfinished, rel=1e-2
        )

    def test_an_error_is_the_less_likely_the_farther_the_keys_are_apart(self) -> None:
        near, far = self.meant("qyestion", "question"), self.meant("qpestion", "question")
        assert near > 5 * far > 0

    def test_layouts_change_what_is_near(self) -> None:
        # Z and T are neighbours on a QWERTZ, and far apart on a QWERTY; A and Q, and A and Z, of an AZERTY.
        assert self.meant("heuze", "heute", layout="qwertz") > 5 * self.meant("heuze", "heute")
        assert self.meant("bznjour", "banjour", layout="azerty") > self.meant(
            "bznjour", "banjour", layout="dvorak"
        )
        assert self.meant("прмвет", "привет", layout="russian") == self.meant("прмвет", "привет")

    def test_exchanged_letters_are_likelier_than_two_others(self) -> None:
        assert self.meant("believe", "beleive") > 10 * self.meant("beliave", "beleive")

    def test_accents_are_almost_free_and_wrong_ones_are_not(self) -> None:
        assert self.meant("ete", "été") > 0.15
        assert 0 < self.meant("èté", "été") < 0.1 * self.meant("ete", "été")
        assert self.meant("été", "ete") < self.meant("ete", "été")

    def test_short_letters_are_not_corrected(self) -> None:
        assert edits_allowed("te") == edits_allowed("i'm") == 0
        assert edits_allowed("teh") == edits_allowed("recv") == 1
        assert edits_allowed("reciv") == 2
        assert edits_allowed("r" * (MAX_LETTERS + 1)) == 0
        assert self.meant("ht", "th") == 0.0
        assert self.meant("u", "über") > 0.15
        assert self.meant("im", "i'm") > 0.15

    def test_two_errors_and_no_third(self) -> None:
        assert self.meant("govermnet", "government") > 0
        assert self.meant("govremnte", "government") == 0.0

    def test_words_of_other_signs_are_no_corrections(self) -> None:
        found = Corrector(sorted(["covid-19", "mp3", "mpe", "2nd", "❤"])).meant("mp3", QWERTY)
        assert found.places.tolist() == [sorted(["covid-19", "mp3", "mpe", "2nd", "❤"]).index("mp3")]
        assert not len(Corrector(["❤"]).meant("❤️x", QWERTY).places)
        assert not len(Corrector([]).meant("word", QWERTY).places)

    def test_places_and_edits_are_told_in_the_order_of_the_list(self) -> None:
        words = sorted(["then", "than", "thin", "them", "hen"])
        found = Corrector(words).meant("then", QWERTY)
        assert found.places.tolist() == sorted(found.places.tolist())
        assert dict(zip((words[at] for at in found.places), found.edits.tolist(), strict=True)) == {
            "hen": 1,
            "than": 1,
            "them": 1,
            "then": 0,
            "thin": 1,
        }
        assert _same(found, Corrector(words).meant("then", QWERTY))

    def test_all_of_a_list_as_one_by_one(self) -> None:
        words = sorted(set(LISTED[::2]))
        together = Corrector(words)
        for typed in ("recieve", "grusse", "прмвет"):
            found = together.meant(typed, QWERTY)
            alone = [float(self.meant(typed, word)) for word in words]
            expected = np.zeros(len(words))
            expected[found.places] = found.likelihoods
            assert np.allclose(expected, alone, rtol=1e-2)

    def test_a_probability_is_checked(self) -> None:
        for wrong in (0.0, -1.0, 1.5, float("nan")):
            with pytest.raises(InvalidValue, match="near"):
                Channel(near=wrong)
        assert cost_of(1.0) == 0.0
        assert Channel().exchange > EDIT


class TestLayouts:
    def test_every_layout_has_each_letter_once_and_neighbours(self) -> None:
        for layout in layouts().values():
            assert len(layout.keys) >= 25
            near = {
                one: [other for other in layout.keys if 0 < layout.distance(one, other) < 1.3]
                for one in layout.keys
            }
            assert sum(map(bool, near.values())) >= 25, layout.name
            assert all(one in near[other] for one in near for other in near[one])

    def test_the_alphabet_of_each_language_is_there(self) -> None:
        for language, letters in {
            "de": "abcdefghijklmnopqrstuvwxyzäöüß",
            "es": "abcdefghijklmnñopqrstuvwxyz",
            "sv": "abcdefghijklmnopqrstuvwxyzåäö",
            "da": "abcdefghijklmnopqrstuvwxyzæøå",
            "tr": "abcçdefgğhıijklmnoöprsştuüvyz",
            "ru": "абвгдеёжзийклмнопрстуфхцчшщъыьэюя",
            "uk": "абвгґдеєжзиіїйклмнопрстуфхцчшщьюя",
            "bg": "абвгдежзийклмнопрстуфхцчшщъьюя",
            "el": "αβγδεζηθικλμνξοπρστυφχψως",
            "he": "אבגדהוזחטיכךלמםנןסעפףצץקרשת",
            "ar": "ابتثجحخدذرزسشصضطظعغفقكلمنهوي",
            "hi": "कखगघचछजझटठडढणतथदधनपफबभमयरलवशषसह",
        }.items():
            layout = layout_of_languages([language])
            assert not set(letters) - layout.keys.keys(), language

    def test_neighbours(self) -> None:
        assert {other for other in QWERTY.keys if 0 < QWERTY.distance("s", other) < 1.3} == set("awedxz")
        assert layout_named("qwertz").distance("z", "t") == 1
        assert layout_named("azerty").distance("a", "z") == 1
        assert layout_named("bepo").distance("u", "i") == 1
        assert layout_named("hindi").distance("क", "ख") == 0.5
        assert key_distance(QWERTY, "п", "р") == 1
        assert QWERTY.distance("é", "r") == QWERTY.distance("e", "r") == 1

    def test_the_usual_layout_of_languages(self) -> None:
        for languages, name in (
            (["de", "en"], "qwertz"),
            (["fr"], "azerty"),
            (["xx", "ru"], "russian"),
            (["pt-BR"], "qwerty"),
            (["pt-PT"], "qwerty-portuguese"),
            ([], "qwerty"),
        ):
            assert layout_of_languages(languages).name == name

    def test_an_unknown_one_is_answered_with_all(self, keyboard: Suggester) -> None:
        with pytest.raises(UnknownName, match=r"qwerzt.*qwertz.*russian"):
            suggested(keyboard, "heuze", layout="qwerzt")

    def test_of_a_device(self, tmp_path: Path) -> None:
        description = tmp_path / "device.json"
        description.write_text('{"name": "phone", "family": "gru-8-8", "layout": "azerty"}')
        assert DeviceDescription.read(tmp_path).layout == "azerty"
        description.write_text('{"name": "phone", "family": "gru-8-8", "layout": "azertz"}')
        with pytest.raises(DeviceError, match=r"azertz.*azerty"):
            DeviceDescription.read(tmp_path)


def test_bare_letters() -> None:
    for letter, bare in zip("éßøłđıёйґἀςŵ", "esoldiеигασw", strict=True):
        assert base(letter) == bare
    assert [base(letter) for letter in ("क", "ि", "क़", "ำ", "한", "ь")] == ["क", "ि", "क", "ำ", "한", "ь"]
    assert is_accent("\u05b8")
    assert not is_accent("\u0941")


def _same(one: Meant, other: Meant) -> bool:
    pairs = ((one.places, other.places), (one.likelihoods, other.likelihoods), (one.whole, other.whole))
    return all(np.array_equal(here, there) for here, there in pairs)
