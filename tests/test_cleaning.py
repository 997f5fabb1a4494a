"""Texts become plain, masked and judged; a shortcut never changes what the plain rule says."""

import pickle
import unicodedata
from collections import Counter
from itertools import pairwise

import ftfy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steps.core.entry import StepError
from steps.corpora import language, pii, repetition
from steps.corpora.cleaning import Rules, clean, letters
from steps.corpora.filters import FILTERS, Words
from steps.corpora.normalise import mojibake, normalise, normalise_spans, strip_html

PLAIN = Rules(False, (), 1, 1_000, 0.5, (), False)
PROSE = (
    "The gardener went down to the shed and found that all of the pots had been broken. "
    "She swept the floor, counted what was left, and wrote a note for her neighbour. "
    "It would have to be enough until spring, when the market opens with new ones."
)
CHINESE = (
    "春天到了，花园里的植物开始慢慢生长。园丁每天早上都会检查土壤的湿度，并且给新种下的树苗浇水。"
    "附近的孩子们放学以后喜欢来这里玩耍，他们帮助老人搬运工具。到了秋天，大家一起收获苹果和葡萄。"
)
JAPANESE = (
    "庭師は毎朝早く起きて、温室の温度を確かめます。春になると新しい苗を植え、夏には水やりが欠かせません。"
    "近所の子どもたちも手伝いに来てくれるので、秋にはたくさんの果物を一緒に収穫することができました。"
)
THAI = (
    "คนสวนตื่นแต่เช้าทุกวันเพื่อรดน้ำต้นไม้ในสวน เมื่อฤดูฝนมาถึงเขาจะปลูกต้นกล้าใหม่ "
    "เด็กๆในหมู่บ้านชอบมาช่วยเก็บผลไม้หลังเลิกเรียน และนำกลับบ้านไปฝากครอบครัว"
)
HINDI = (
    "माली हर सुबह जल्दी उठता है और बगीचे में पौधों को पानी देता है। बच्चे स्कूल के बाद उसकी मदद करते हैं। "
    "शाम को सब मिलकर पके हुए फल तोड़ते हैं और पड़ोसियों में बाँट देते हैं।"
)  # fmt: skip
GERMAN = (
    "Der Gärtner ging am Morgen in den Schuppen und sah, dass alle Töpfe zerbrochen waren. Er"
    " kehrte den Boden, zählte die übrigen und schrieb seiner Nachbarin einen Brief. Bis zum"
    " Frühling musste das reichen, denn erst dann öffnet der Markt wieder."
)


def reason(text: str, rules: Rules = PLAIN) -> str:
    [found] = clean([text], rules)
    return found.reason


def filtered(text: str, name: str) -> str:
    return FILTERS[name](Words(normalise(text), text))


# Plain text


def test_white_space_is_folded_and_paragraphs_stay() -> None:
    assert normalise(" a\tb\u00a0 c \r\n \r\n\r\nd\ne ") == "a b c\n\nd e"


def test_control_characters_go_and_markers_stay() -> None:
    assert normalise("a\x00b\u200b <<c>> [[d]] \ufeffe") == "ab <<c>> [[d]] e"


@given(st.text() | st.text(" \n\r\t\x0b\x0c\x1c\x85\u2028ab\x07", max_size=12))
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
    assert unicodedata.is_normalized("NFC", once)
    assert normalise_spans(text, [])[0].strip() == once


@given(st.text(), st.text(min_size=1), st.text())
def test_spans_follow_their_text(before: str, inside: str, after: str) -> None:
    span = {"start": len(before), "end": len(before) + len(inside), "label": "X"}
    text, spans = normalise_spans(before + inside + after, [span])
    assert [text[s["start"] : s["end"]] for s in spans] == [normalise(inside)] * len(spans)
    assert bool(spans) == bool(normalise(inside))


@pytest.mark.parametrize(
    ("broken", "mended"),
    [
        ("schÃ¶n", "schön"),
        ("itâ€™s all â€œoverâ€\x9d", "it’s all “over”"),
        ("voilÃ le travail", "voilà le travail"),
        ("ÐŸÑ€Ð¸Ð²ÐµÑ‚, Ð¼Ð¸Ñ€", "Привет, мир"),
        ("schÃ¶n\nund → hier", "schön\nund → hier"),
    ],
)
def test_mojibake_is_mended(broken: str, mended: str) -> None:
    assert mojibake(broken) == mended


@pytest.mark.parametrize(
    "text",
    ["schön", "naïve – “x” 5 €", "Ångström à la carte", "ёлка «ёж»", "100 % ½", CHINESE, GERMAN],
)
def test_clean_text_is_not_mended(text: str) -> None:
    assert mojibake(text) == text


SEEN = [
    chr(n) for n in (*range(0x80, 0x180), 0x2013, 0x2014, 0x201C, 0x201D, 0x2019, 0x20AC, 0x2122)
]


@given(st.text(st.sampled_from([*SEEN, *"aA ?\x1a\ufffdёвВРС√≈∂βΒ┬╨"]), max_size=9) | st.text())
def test_no_line_that_could_be_mended_is_passed_over(text: str) -> None:
    assert mojibake(text) == "\n".join(map(ftfy.fix_encoding, text.split("\n")))


@given(st.text(min_size=1), st.sampled_from(["cp1252", "latin-1", "cp1251", "mac-roman"]))
def test_a_mended_text_stays_so(text: str, encoding: str) -> None:
    broken = text.encode("utf-8", "replace").decode(encoding, "replace")
    [once] = clean([broken], PLAIN)
    assert clean([once.text], PLAIN)[0].text == once.text


# HTML


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>a &lt; b</p><p>c<br>d<br><br><b>e</b>f</p>", "a < b\n\nc d\n\nef"),
        ("<script>x='</p>'</script><style>p{}</style>a<!-- <p>b -->", "a"),
        ("<!doctype html><title>T</title><body><x-y><p>q<x-z>r</x-z></p>", "T\n\nqr"),
        ("<table><tr><td>1<td>2<tr><td>3</table>", "1 2\n\n3"),
        ("<ul><li>a<li title='x > y'>b</ul>", "a\n\nb"),
        ("<p>a\n\nb \ud800c&nbsp;d</p>", "a b c d"),
        ("AT&amp;T &#8364; &copy=1", "AT&T € &copy=1"),
    ],
)
def test_html_becomes_text(html: str, text: str) -> None:
    assert normalise(strip_html(html) or "") == text


@pytest.mark.parametrize(
    "text", ["a < b, c > d", "<<x>> and [[y]]", "<object at 0x7f>", "List<int>", "<EMAIL>"]
)
def test_what_is_not_html_stays(text: str) -> None:
    assert strip_html(text) == text
    assert normalise(strip_html(f"<p>{text}</p>") or "").startswith(
        text.removesuffix("<object at 0x7f>")
    )


def test_markup_nested_beyond_reason_is_rejected_and_kept_to_read() -> None:
    bomb = "<b title='>'>" * 6_000 + "</b>"
    [found] = clean([bomb], PLAIN._replace(strip_html=True))
    assert (found.reason, found.text) == ("too_much_markup", bomb)
    assert reason("<div>" * 100_000 + "deep", PLAIN._replace(strip_html=True)) == ""


# Length and the whole


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one two", "too_short"),
        ("one two six", ""),
        ("a b c d e", ""),
        ("a b c d e f", "too_long"),
        ("ab 12 cd", ""),
        ("ab 12 c3", "few_letters"),
        ("", "too_short"),
    ],
)
def test_lengths_and_letters_have_limits(text: str, expected: str) -> None:
    assert reason(text, PLAIN._replace(min_words=3, max_words=5, min_letters=0.6)) == expected


@given(st.text(max_size=40))
def test_letters_are_counted_with_their_marks(text: str) -> None:
    assert letters(text) == sum(unicodedata.category(char)[0] in "LM" for char in text)


ALL = PLAIN._replace(min_words=20, min_letters=0.7, filters=tuple(FILTERS), mask_pii=True)


@pytest.mark.parametrize("text", [PROSE, GERMAN, CHINESE, JAPANESE, THAI, HINDI])
def test_prose_of_any_script_passes_all_filters(text: str) -> None:
    assert reason(text, ALL) == ""


def test_a_rejected_text_is_normalised_and_masked_all_the_same() -> None:
    [found] = clean(["me@x.org \n"], PLAIN._replace(min_words=9, mask_pii=True))
    assert found == ("<EMAIL>", "too_short", "", {"EMAIL": 1})


def test_rules_travel_to_other_processes_and_unknown_filters_are_named() -> None:
    assert pickle.loads(pickle.dumps(ALL)) == ALL
    with pytest.raises(StepError, match=r"no filter 'gopher'.*gopher_quality"):
        clean([], PLAIN._replace(filters=("gopher",)))


PIECES = [
    "schÃ¶n",
    "jane@x.org",
    "+49 89 1234567",
    "4111 1111 1111 1111",
    "8.8.8.8",
    "<b>",
    "\u0338",
]
PIECES += [
    "DE89 3704 0044 0532 0130 00",
    "api_key: 9f86d081884c7d65",
    " ",
    "\n\n",
    "-",
    "1",
    "Ã",
    "→",
]


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=12).map("".join))
def test_cleaning_twice_changes_nothing(text: str) -> None:
    [once] = clean([text], ALL)
    [twice] = clean([once.text], ALL)
    assert (twice.text, twice.masked) == (once.text, {})


# Language


@pytest.mark.parametrize(
    ("text", "code"),
    [
        *(
            (PROSE, "en"),
            (GERMAN, "de"),
            (CHINESE, "zh"),
            (JAPANESE, "ja"),
            (THAI, "th"),
            (HINDI, "hi"),
        ),
        ("", "und"),
        ("Bonjour, ça va ?", "und"),
        ("1.2.3 -> 4.5.6 (2024-10-28)\n" * 9, "und"),
        (PROSE.upper(), "en"),
    ],
)
def test_languages_are_identified_or_left_open(text: str, code: str) -> None:
    assert language.identify([text]) == [code]


def test_a_title_in_english_makes_no_english_text() -> None:
    dutch = "Het boek is of wordt een van de beste, en the is daar niet in te vinden, zegt men."
    german = (
        'Der Roman "The Man Who Fell from the Sky with the Wind" erschien im Jahr 1999 in Berlin.'
    )
    french = (
        'Le film "The Good, the Bad and the Ugly" est sorti en 1966, et nous avons vu la suite.'
    )
    assert language.identify([dutch, german, french]) == ["nl", "de", "fr"]


def test_only_texts_surely_in_another_language_go() -> None:
    english = PLAIN._replace(languages=("en", "fr"))
    found = clean([PROSE, GERMAN, "DEFAULT_CHARSET  FORCE_SCRIPT_NAME", "kurz"], english)
    assert [one.reason for one in found] == ["", "language", "", ""]
    assert [one.language for one in found] == ["en", "de", "und", "und"]
    assert clean([GERMAN], PLAIN)[0].language == ""


def test_a_language_that_cannot_be_identified_is_said() -> None:
    with pytest.raises(StepError, match="no language 'english'"):
        clean([], PLAIN._replace(languages=("english",)))


# Filters


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the of " + "word " * 17 + "#tag", ""),
        ("the of " + "word " * 17 + "#tag # #", "symbols"),
        ("the of " + "word " * 14 + "word… word… word… word", "symbols"),
        ("- these wordy words here\n" * 9 + "the of", ""),
        ("- these wordy words\n" * 10 + "- of words", "bullets"),
        ("- the words of one line", ""),
        ("the words of one more line\n" * 7 + "one more line…\n" * 3, ""),
        ("the words of one more line\n" * 6 + "one more line…\n" * 3, "ellipses"),
        ("of at the", "mean_word_length"),
        ("the that have", ""),
        ("the that " + "x" * 23, ""),
        ("the that " + "x" * 24, "mean_word_length"),
        ("the that have word 1234", ""),
        ("the that have 1234", "words_without_letters"),
        ("the word word words", "stop_words"),
        ("The word word OF", ""),
        (GERMAN, ""),
    ],
)
def test_gopher_quality_at_its_limits(text: str, expected: str) -> None:
    assert filtered(text, "gopher_quality") == expected


LINE = "A line that stands here once more, number "


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["same", *(f"{LINE}{n}" for n in range(6)), "same", "same", "same"], ""),
        (["same", *(f"{LINE}{n}" for n in range(5)), "same", "same", "same"], "duplicate_lines"),
    ],
)
def test_repeated_lines_have_a_limit(lines: list[str], expected: str) -> None:
    assert repetition.against_lines(lines, ["one"]) == expected


def test_characters_of_repeated_lines_and_paragraphs_have_limits() -> None:
    assert repetition.against_lines(["a" * 20, "a" * 20, "b" * 30, "c" * 30], ["one"]) == ""
    more = ["a" * 21, "a" * 21, "b" * 30, "c" * 30]
    assert repetition.against_lines(more, ["one"]) == "duplicate_line_characters"
    assert repetition.against_lines(["one"], more) == "duplicate_paragraph_characters"
    assert repetition.against_lines(["one"], ["a", "a"]) == "duplicate_paragraphs"


def plainly(found: list[str], units: int) -> str:
    """Table A1 of Gopher as it is written, with no shortcut."""
    total = sum(map(len, found))

    def covered(places: list[int], width: int) -> int:
        return sum(len(found[at]) for at in {p + k for p in places for k in range(width)})

    for size in range(2, 11):
        width = size * units
        grams = [tuple(found[at : at + width]) for at in range(len(found) - width + 1)]
        counts = Counter(grams)
        if size in repetition.TOP:
            often = max(counts.values(), default=0)
            top = [
                [at for at, g in enumerate(grams) if g == gram]
                for gram in counts
                if counts[gram] == often
            ]
            if often > 1 and max(covered(p, width) for p in top) > repetition.TOP[size] * total:
                return f"top_{size}_grams"
        if size in repetition.DUPLICATE:
            again = [at for at, gram in enumerate(grams) if counts[gram] > 1]
            if covered(again, width) > repetition.DUPLICATE[size] * total:
                return f"repeated_{size}_grams"
    return ""


VOCABULARY = [chr(97 + n % 26) * (1 + n % 7) for n in range(60)]
PHRASES = [VOCABULARY[at : at + size] for at, size in ((0, 2), (5, 3), (9, 4), (20, 6), (30, 11))]


@given(
    st.lists(
        st.sampled_from(PHRASES) | st.lists(st.sampled_from(VOCABULARY), max_size=25), max_size=14
    ),
    st.sampled_from([1, 2]),
)
def test_repetition_is_what_the_paper_defines(parts: list[list[str]], units: int) -> None:
    found = [word for part in parts for word in part]
    assert repetition.against_ngrams(found, units) == plainly(found, units)


def test_each_length_of_ngram_has_its_limit() -> None:
    rest = [f"word{n:03}" for n in range(100)]
    for size, share in {**repetition.TOP, **repetition.DUPLICATE}.items():
        phrase = [f"same{n:03}" for n in range(size)]
        times = int(share * 100 / size) + 4
        text = [w for n in range(times) for w in (*phrase, *rest[n * 2 : n * 2 + 2])] + rest[60:]
        assert repetition.against_ngrams(text).endswith("_grams"), size
        assert (
            repetition.against_ngrams([*phrase, "x", *phrase, *(f"y{n:06}" for n in range(400))])
            == ""
        )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (PROSE, ""),
        (PROSE + " Lorem Ipsum.", "lorem_ipsum"),
        (PROSE + " {x}", "curly_brackets"),
        ("One. Two. Three", ""),
        ("One. Two, three", "few_sentences"),
        ("One is 1.5. Two!", "few_sentences"),
        ("一。二。三。", ""),
        (THAI, ""),
        ("Please enable JavaScript. Now. Here.", "javascript_notice"),
        ("It escapes JavaScript strings. It is safe. Use it.", ""),
        (PROSE + "\nPlease enable JavaScript.", ""),
        ("We use cookies. See our Privacy Policy. Bye.", "policy_notice"),
        (PROSE + "\nPrivacy Policy", ""),
    ],
)
def test_c4_judges_whole_documents(text: str, expected: str) -> None:
    assert filtered(text, "c4") == expected


# Personal data


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("write to jane.doe@example.org.", "write to <EMAIL>."),
        ("jörg@bücher.example", "<EMAIL>"),
        ("from 8.8.8.8 today", "from <IP> today"),
        ("from 2a00:1450:4001:82f::200e today", "from <IP> today"),
        ("pay to DE89 3704 0044 0532 0130 00 now", "pay to <IBAN> now"),
        ("BE68 5390 0754 7034 EUR 5", "<IBAN> EUR 5"),
        ("GB29NWBK60161331926819", "<IBAN>"),
        ("card 4111 1111 1111 1111.", "card <CARD>."),
        ("4111-1111-1111-1111 12/26", "<CARD> 12/26"),
        ("3782 822463 10005", "<CARD>"),
        ("call +49 89 1234567", "call <PHONE>"),
        ("+44 (0)20 7946 0958 or later", "<PHONE> or later"),
        ("+49 89 12345678 2024 was", "<PHONE> 2024 was"),
        ("AKIAIOSFODNN7EXAMPLE is it", "<KEY> is it"),
        ("AKIA" + "ABCDEFGHIJKLMNOP is it", "<KEY> is it"),
        ("hf_" + "abCDefGHij" * 3 + ".", "<KEY>."),
        ("ghp_" + "a1B2" * 9, "<KEY>"),
        (
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P.",
            "<KEY>.",
        ),
        ('api_key = "a8f5f167f44f4964e6c998dee827110c"', 'api_key = "<KEY>"'),
        ("Authorization: Bearer 9f86d081884c7d659a2feaa0c55ad015.", "Authorization: Bearer <KEY>."),
        ("-----BEGIN RSA PRIVATE KEY----- MIIb/+= -----END RSA PRIVATE KEY----- x", "<KEY> x"),
    ],
)
def test_personal_data_is_masked(text: str, masked: str) -> None:
    assert pii.mask(text)[0] == masked
    assert pii.mask(text)[1].total() == 1


@pytest.mark.parametrize(
    "text",
    [
        "card 4111 1111 1111 1112 and 1234 5678 9012 3452",
        "DE89 3704 0044 0532 0130 01",
        "on 127.0.0.1, 10.0.0.1, 192.0.2.1 and ::1",
        "version 1.2.3.4, ==8.8.8.8, 1.2.3.4.5 of 2024-10-28",
        "a[1::2], std::abc at 12:30:45",
        "x +1 2024 10 28 and +1234567890123",
        "the @decorator of a.b.c",
        "<<entity>> and [[other]]",
        "SECRET_KEY = os.environ['SECRET_KEY_2024']",
        "token = your-api-key-goes-here, password: correct-horse-battery-staple",
        "sha256 9f86d081884c7d659a2feaa0c55ad015 and sk-learn-like-names-of-things",
        "<EMAIL> <PHONE> <IP> <IBAN> <CARD> <KEY>",
    ],
)
def test_what_only_looks_like_it_is_not(text: str) -> None:
    assert pii.mask(text) == (text, Counter())


NUMBERS = [
    *"0123456789+-. :()aF@/",
    "DE89",
    "4111",
    "+49",
    "2a00:",
    "AKIA",
    "key=",
    "1111 ",
    "x.org",
]


@given(st.lists(st.sampled_from(NUMBERS), max_size=30).map("".join))
def test_masking_twice_changes_nothing_and_no_hint_is_missed(text: str) -> None:
    once, _ = pii.mask(text)
    assert pii.mask(once) == (once, Counter())
    for kind in pii.MASKS:
        for found in kind.pattern.finditer(text):
            if kind.check(found):
                assert kind.hint is None or kind.hint.search(text)


def test_what_is_repeated_is_judged_by_pairs_of_characters_where_no_blanks_are() -> None:
    again = CHINESE[:20] * 3 + CHINESE
    assert filtered(again, "gopher_repetition").endswith("_grams")
    assert not Words(again, again).spaced
    assert all(len(a) == 1 and len(b) == 1 for a, b in pairwise(Words(CHINESE, CHINESE).words[:5]))
