"""Readers of labelled formats, on examples small enough to check by eye."""

import json
from pathlib import Path
from typing import Any

import pytest

from steps import readers
from steps.core.entry import StepError
from steps.readers.columns import Unreadable, chunks
from steps.readers.files import files

Record = dict[str, Any]


def records(root: Path, reader: str, **options: Any) -> list[Record]:
    """Read all files below a folder, as a stage does."""
    module = readers.load(reader)
    chosen = readers.options(reader, options, "params.yaml: corpora.x.options")
    return [r for file in files(root, module.SUFFIXES) for r in module.read(file, chosen)]


def shown(record: Record) -> list[tuple[str, str]]:
    return [(record["text"][s["start"] : s["end"]], s["label"]) for s in record["spans"]]


def write(root: Path, name: str, text: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return root


WORDS = "Ada King of Byron met Paris and Rome Milan there"
TAGS = {
    "iob1": "I-PER I-PER I-PER I-PER O I-LOC O I-LOC B-LOC O",
    "iob2": "B-PER I-PER I-PER I-PER O B-LOC O B-LOC B-LOC O",
    "bioes": "B-PER I-PER I-PER E-PER O S-LOC O S-LOC S-LOC O",
}


def columns(words: str, tags: str, layout: str = "{word} {tag}") -> str:
    pairs = zip(words.split(), tags.split(), strict=True)
    return "".join(layout.format(word=word, tag=tag) + "\n" for word, tag in pairs) + "\n"


def test_the_same_sentence_in_each_scheme_has_the_same_spans(tmp_path: Path) -> None:
    for scheme, tags in TAGS.items():
        write(tmp_path, f"{scheme}/a.conll", columns(WORDS, tags))
    bilou = TAGS["bioes"].replace("E-", "L-").replace("S-", "U-")
    write(tmp_path, "bilou/a.conll", columns(WORDS, bilou))
    found = [
        records(tmp_path / folder, "conll", columns=["word", "tag"], scheme=scheme)
        for folder, scheme in [*((s, s) for s in TAGS), ("bilou", "bioes")]
    ]
    for (record,) in found:
        assert record["text"] == WORDS
        assert shown(record) == [
            ("Ada King of Byron", "PER"),
            ("Paris", "LOC"),
            ("Rome", "LOC"),
            ("Milan", "LOC"),
        ]


def test_the_scheme_io_joins_neighbours_of_one_label(tmp_path: Path) -> None:
    write(tmp_path, "a.conll", columns("Ada King met Rome", "PER PER O I-LOC"))
    (record,) = records(tmp_path, "conll", columns=["word", "tag"], scheme="io")
    assert shown(record) == [("Ada King", "PER"), ("Rome", "LOC")]


@pytest.mark.parametrize(
    ("scheme", "tags", "reason", "at"),
    [
        ("iob2", "O I-PER", "tag_scheme", 1),
        ("iob2", "B-PER I-LOC", "tag_scheme", 1),
        ("iob1", "O B-PER", "tag_scheme", 1),
        ("iob1", "I-PER B-LOC", "tag_scheme", 1),
        ("bioes", "O E-PER", "tag_scheme", 1),
        ("bioes", "B-PER O", "tag_scheme", 1),
        ("bioes", "B-PER B-PER E-PER", "tag_scheme", 1),
        ("bioes", "O B-PER", "tag_scheme", 2),
        ("bioes", "B-PER E-LOC", "tag_scheme", 1),
        ("iob2", "O S-PER", "unknown_tag", 1),
        ("iob2", "B- O", "unknown_tag", 0),
        ("iob2", "PER O", "unknown_tag", 0),
        ("iob2", "b-PER O", "unknown_tag", 0),
        ("io", "O B-PER", "unknown_tag", 1),
        ("io", "_ O", "unknown_tag", 0),
    ],
)
def test_a_broken_scheme_is_said_with_the_word(
    scheme: Any, tags: str, reason: str, at: int
) -> None:
    with pytest.raises(Unreadable) as error:
        chunks(tags.split(), scheme)
    assert (error.value.reason, error.value.at) == (reason, at)


CONLL_2003 = """\
-DOCSTART- -X- -X- O

EU NNP B-NP B-ORG
rejects VBZ B-VP O

Peter NNP B-NP B-PER
Blackburn NNP I-NP I-PER
 \t
-DOCSTART- -X- -X- O

BRUSSELS NNP B-NP I-LOC

1996-08-22 CD
"""


def test_conll_2003_has_documents_and_its_bad_sentences_a_line(tmp_path: Path) -> None:
    found = records(write(tmp_path, "train.conll", CONLL_2003), "conll")
    assert [(r["text"], r["group"], r["place"], r.get("reason")) for r in found] == [
        ("EU rejects", "train.conll#1", "train.conll:3", None),
        ("Peter Blackburn", "train.conll#1", "train.conll:6", None),
        ("BRUSSELS NNP B-NP I-LOC", "train.conll#2", "train.conll:11", "tag_scheme"),
        ("1996-08-22 CD", "train.conll#2", "train.conll:13", "wrong_columns"),
    ]
    assert {record["split"] for record in found} == {"train"}
    assert shown(found[1]) == [("Peter Blackburn", "PER")]


def test_columns_are_laid_out_as_the_options_say(tmp_path: Path) -> None:
    text = "# sent 1\n1\t東京\tB-LOC\n2\tです\tO\n\n# sent 2\n1\ta b\tO\n"
    write(tmp_path, "a.tsv", text)
    layout = {"columns": ["_", "word", "tag"], "separator": "\t", "comment": "#", "join": ""}
    first, second = records(tmp_path, "conll", **layout, group="sentence")
    assert (first["text"], shown(first)) == ("東京です", [("東京", "LOC")])
    assert (second["text"], second["group"], second["place"]) == ("a b", "a.tsv:6", "a.tsv:6")


def test_a_file_without_markers_is_one_document(tmp_path: Path) -> None:
    write(tmp_path, "a.conll", "a O\n\nb O\n")
    assert {r["group"] for r in records(tmp_path, "conll", columns=["word", "tag"])} == {"a.conll"}


def test_a_column_of_plain_tags_labels_each_word(tmp_path: Path) -> None:
    write(tmp_path, "a.conll", "EU NNP\nand CC\n- _\nEU NNP\nO O\n")
    (file,) = files(tmp_path, ())
    options = readers.options("conll", {"columns": ["word", "tag"]}, "options", "tags")
    (record,) = readers.load("conll").read(file, options)
    assert (record["text"], shown(record)) == (
        "EU and - EU O",
        [("EU", "NNP"), ("and", "CC"), ("EU", "NNP"), ("O", "O")],
    )


@pytest.mark.parametrize("wrong", [["word"], ["word", "tag", "tag"], ["word", "pos", "tag"], []])
def test_a_layout_without_word_and_tag_is_refused(tmp_path: Path, wrong: list[str]) -> None:
    with pytest.raises(StepError, match=r"options: columns is .* expected word and tag once each"):
        records(tmp_path, "conll", columns=wrong)


UD = """\
# newdoc id = letters
# sent_id = 1
# text = Vamos al Louvre, Ana.
1\tVamos\tir\tVERB\t_\t_\t0\troot\t_\t_
2-3\tal\t_\t_\t_\t_\t_\t_\t_\t_
2\ta\ta\tADP\t_\t_\t4\tcase\t_\tNE=O
3\tel\tel\tDET\t_\t_\t4\tdet\t_\tNE=B-LOC
4\tLouvre\tLouvre\tPROPN\t_\t_\t1\tobl\t_\tNE=I-LOC|SpaceAfter=No
5\t,\t,\tPUNCT\t_\t_\t6\tpunct\t_\tNE=O
6\tAna\tAna\tPROPN\t_\t_\t1\tvocative\t_\tNE=B-PER|SpaceAfter=No
7\t.\t.\tPUNCT\t_\t_\t1\tpunct\t_\tNE=O

# sent_id = 2
1\tSue\tSue\tPROPN\t_\t_\t0\troot\t_\tNE=B-PER
1.1\tlikes\tlike\tVERB\t_\t_\t_\t_\t_\t_
2\ttea\ttea\tNOUN\t_\t_\t1\torphan\t_\tNE=O|SpaceAfter=No
3\t!\t!\tPUNCT\t_\t_\t1\tpunct\t_\tNE=O

# newdoc
# text = Not these.
1\tOther\tother\tADJ\t_\t_\t0\troot\t_\tNE=O
"""


def test_universal_dependencies_give_text_and_parts_of_speech(tmp_path: Path) -> None:
    first, second, third = records(write(tmp_path, "a.conllu", UD), "conll_u")
    assert first["text"] == "Vamos al Louvre, Ana."
    assert shown(first) == [
        ("Vamos", "VERB"),
        ("al", "ADP+DET"),
        ("Louvre", "PROPN"),
        (",", "PUNCT"),
        ("Ana", "PROPN"),
        (".", "PUNCT"),
    ]
    assert (second["text"], len(second["spans"])) == ("Sue tea!", 3)
    assert [r["group"] for r in (first, second)] == ["a.conllu#letters"] * 2
    assert (third["reason"], third["group"]) == ("text_mismatch", "a.conllu#2")


def test_the_name_of_a_treebank_says_its_language(tmp_path: Path) -> None:
    for name in ("pud/gsw_uzh-ud-test.conllu", "de_gsd_x-ud-train.conllu", "other.conllu"):
        write(tmp_path, name, UD)
    options = readers.options("conll_u", {}, "options", "tags")
    found = readers.read("conll_u", options, True, files(tmp_path, (".conllu",)))
    said = {record["source"]: record.get("language") for record in found}
    assert said == {
        "pud/gsw_uzh-ud-test.conllu": "gsw",
        "de_gsd_x-ud-train.conllu": "de",
        "other.conllu": None,
    }


def test_universal_dependencies_give_the_entities_of_misc(tmp_path: Path) -> None:
    first, second, _ = records(write(tmp_path, "a.conllu", UD), "conll_u", tag="NE")
    assert shown(first) == [("al Louvre", "LOC"), ("Ana", "PER")]
    assert shown(second) == [("Sue", "PER")]


def test_a_key_that_misc_never_has_is_no_task_without_entities(tmp_path: Path) -> None:
    write(tmp_path, "a.conllu", UD)
    with pytest.raises(StepError, match=r"expected 'Ne' in MISC.*found NE, SpaceAfter; set"):
        records(tmp_path, "conll_u", tag="Ne")


@pytest.mark.parametrize(
    ("lines", "reason", "line"),
    [
        ("1\ta\ta\n", "wrong_columns", 1),
        ("1\ta\ta\tX\t_\t_\t0\troot\t_\t_\n3\tb\tb\tX\t_\t_\t1\tdep\t_\t_\n", "word_numbers", 2),
        ("1\ta\ta\tX\t_\t_\tnought\troot\t_\t_\n", "bad_conllu", 1),
        ("1-2\tal\t_\t_\t_\t_\t_\t_\t_\t_\n1\ta\ta\tX\t_\t_\t0\troot\t_\t_\n", "word_numbers", 2),
        ("# text = gone\n", "no_words", 1),
    ],
)
def test_a_bad_sentence_of_conllu_leaves_the_rest(
    tmp_path: Path, lines: str, reason: str, line: int
) -> None:
    bad, good = records(
        write(tmp_path, "b.conllu", f"{lines}\n{UD.split('# newdoc')[2]}"), "conll_u"
    )
    assert (bad["reason"], bad["place"]) == (reason, f"b.conllu:{line}")
    assert good["reason"] == "text_mismatch"


CONTEXT = "Zoë’s café 😀 opened in 1962. It closed in 1987."
START = CONTEXT.index("1962")


def question(name: str, text: str, start: int, **more: Any) -> Record:
    asked = {"id": name, "question": "When?"}
    return asked | {"answers": [{"text": text, "answer_start": start}]} | more


def squad(*asked: Any, title: str = "Cafés") -> str:
    paragraphs = [{"context": CONTEXT, "qas": list(asked)}]
    return json.dumps({"version": "v2.0", "data": [{"title": title, "paragraphs": paragraphs}]})


def test_squad_gives_a_record_a_question(tmp_path: Path) -> None:
    closed = CONTEXT.index("1987")
    nobody = {"id": "q3", "question": "Who?", "answers": [], "is_impossible": True}
    text = squad(question("q1", "1962", START), question("q2", "1987", closed), nobody)
    found = records(write(tmp_path, "dev-v2.0.json", text), "squad")
    assert found[0] == {
        "source": "dev-v2.0.json",
        "group": "Cafés",
        "place": "dev-v2.0.json:q1",
        "split": "validation",
        "text": CONTEXT,
        "question": "When?",
        "answers": [{"start": START, "text": "1962"}],
    }
    assert [r["answers"] for r in found[1:]] == [[{"start": closed, "text": "1987"}], []]
    assert not any("reason" in record for record in found)


def test_squad_flags_the_offsets_that_do_not_match_and_no_others(tmp_path: Path) -> None:
    asked = [
        question("right", "1962", START),
        question("before", "1962", START - 1),
        question("bytes", "1962", len(CONTEXT[:START].encode())),
        question("utf16", "1962", len(CONTEXT[:START].encode("utf-16-le")) // 2),
        question("case", "IT CLOSED", CONTEXT.index("It closed")),
        question("negative", "1987.", -5),
        question("beyond", "1987", 10**30),
        question("also-right", "It closed", CONTEXT.index("It closed")),
    ]
    two = question("second", "1962", START)
    two["answers"].append({"text": "1987", "answer_start": 3})
    found = records(write(tmp_path, "a.json", squad(*asked, two)), "squad")
    flagged = {r["place"]: r["reason"] for r in found if "reason" in r}
    wrong = ("before", "bytes", "utf16", "case", "negative", "beyond", "second")
    assert flagged == {f"a.json:{name}": "answer_offset" for name in wrong}
    assert all(record["text"] == CONTEXT for record in found)


@pytest.mark.parametrize(
    ("asked", "reason", "place"),
    [
        ({"id": "q", "question": "Why?", "answers": []}, "no_answers", "q"),
        (question("q", " ", 5), "no_answers", "q"),
        (question("q", "1962", START, is_impossible=True), "impossible_with_answers", "q"),
        (question("q", "1962", START, is_impossible="no"), "not_squad", "q"),
        ({"question": "Why?", "answers": []}, "no_id", "data[0].paragraphs[0].qas[0]"),
        ({"id": "q", "question": 3, "answers": []}, "not_squad", "q"),
        ({"id": "q", "question": "?", "answers": [["1962", START]]}, "not_squad", "q"),
        ({"id": "q", "question": "?", "answers": {"text": "1962"}}, "not_squad", "q"),
        (question("q", "1962", START, question="\ud800"), "half_a_character", "q"),
        ("Why?", "not_squad", "data[0].paragraphs[0].qas[0]"),
    ],
)
def test_a_bad_question_is_one_bad_record(
    tmp_path: Path, asked: Any, reason: str, place: str
) -> None:
    good = question("good", "1962", START)
    bad, fine = records(write(tmp_path, "a.json", squad(asked, good)), "squad")
    assert (bad["reason"], bad["place"]) == (reason, f"a.json:{place}")
    assert "reason" not in fine


def test_an_article_without_a_title_is_its_own_group(tmp_path: Path) -> None:
    text = squad(question("q", "1962", START), title="")
    (record,) = records(write(tmp_path, "a.json", text), "squad")
    assert record["group"] == "a.json#data[0]"


PO = r"""
# Translators, see the wiki.
msgid ""
msgstr ""
"Content-Type: text/plain; charset=UTF-8\n"
"Plural-Forms: nplurals=2; plural=(n != 1);\n"

#: a.py:1
msgid "Open the file"
msgstr "Öffne die Datei"

#, fuzzy
msgid "Close it"
msgstr "Schließe es alles"

msgctxt "menu"
msgid "Save"
msgstr ""

msgid "%d file"
msgid_plural "%d files"
msgstr[0] "%d Datei"
msgstr[1] "%d Dateien"

msgid ""
"Two lines,\n"
"\"quoted\""
msgstr "Zwei Zeilen,\n\"zitiert\""

#~ msgid "Old"
#~ msgstr "Alt"
"""


def test_a_catalogue_gives_pairs_and_says_what_is_no_pair(tmp_path: Path) -> None:
    found = records(write(tmp_path, "de.po", PO), "po")
    assert [(r["place"], r["text"], r["target"], r.get("reason")) for r in found] == [
        ("de.po:8", "Open the file", "Öffne die Datei", None),
        ("de.po:12", "Close it", "Schließe es alles", "fuzzy"),
        ("de.po:16", "Save", "", "untranslated"),
        ("de.po:20[0]", "%d file", "%d Datei", None),
        ("de.po:20[1]", "%d files", "%d Dateien", None),
        ("de.po:25", 'Two lines,\n"quoted"', 'Zwei Zeilen,\n"zitiert"', None),
        ("de.po:30", "Old", "Alt", "obsolete"),
    ]
    assert {record["group"] for record in found} == {"de.po"}


def test_the_header_of_a_catalogue_says_the_language(tmp_path: Path) -> None:
    said = PO.replace('"Plural', '"Language-Team: none\\n"\n"Language: pt_BR\\n"\n"Plural')
    write(tmp_path, "a.po", said)
    write(tmp_path, "b.po", 'msgid ""\n"Language: %s"\nmsgstr ""\n"Language: no"\n')
    write(
        tmp_path, "c.po", 'msgid ""\nmsgstr "Language: \\n"\n\nmsgid "x"\nmsgstr "Language: no"\n'
    )
    found = {record["source"]: record.get("language") for record in records(tmp_path, "po")}
    assert found == {"a.po": "pt_BR", "b.po": None, "c.po": None}


def test_the_translation_may_be_the_text(tmp_path: Path) -> None:
    found = records(write(tmp_path, "de.po", PO), "po", side="msgstr", group="message")
    assert (found[0]["text"], found[0]["target"]) == ("Öffne die Datei", "Open the file")
    assert len({record["group"] for record in found}) == len(found)


def test_the_only_form_of_a_language_without_plurals_translates_the_plural(tmp_path: Path) -> None:
    text = 'msgid "%d file"\nmsgid_plural "%d files"\nmsgstr[0] "%d ファイル"\n'
    (record,) = records(write(tmp_path, "ja.po", text), "po")
    assert (record["text"], record["target"]) == ("%d files", "%d ファイル")


def test_a_catalogue_is_read_in_the_encoding_that_it_names(tmp_path: Path) -> None:
    text = PO.replace("UTF-8", "ISO-8859-1")
    (tmp_path / "de.po").write_bytes(text.encode("latin-1"))
    assert records(tmp_path, "po")[0]["target"] == "Öffne die Datei"


@pytest.mark.parametrize(
    ("text", "reason", "line"),
    [
        ('msgid "a"\nmsgstr "b\n', "not_po", 2),
        ('msgid "a"\nmsgstr "b" c\n', "not_po", 2),
        ('msgid "a"\nmsgstr "b"c"\n', "not_po", 2),
        ('msgid "a"\nmsgstr "b\\"\n', "not_po", 2),
        ('msgid "a"\nmsgid "b"\nmsgstr "c"\n', "not_po", 2),
        ('msgid "a"\n# why\nmsgid "b"\nmsgstr "c"\n', "not_po", 1),
        ('msgid "a"\nmsgstr "b"\n\nHello\n', "not_po", 4),
        ('msgid "a"\nmsgid_plural "b"\nmsgstr[0] "c"\nmsgstr[0] "d"\n', "not_po", 1),
        ('msgstr "a"\n', "not_po", 1),
        ('msgid "a\0"\nmsgstr "b"\n', "nul_bytes", 1),
    ],
)
def test_a_broken_catalogue_is_one_bad_record(
    tmp_path: Path, text: str, reason: str, line: int
) -> None:
    (record,) = records(write(tmp_path, "de.po", text), "po")
    assert (record["reason"], record["place"]) == (reason, f"de.po:{line}")
