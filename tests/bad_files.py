"""Bad files, and what is to be said of each. Read by test_bad_files.py."""

import gzip
import io
import json
import tarfile
import zipfile
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

NAMES = {
    "conll": "a.conll",
    "conll_u": "a.conllu",
    "table": "a.csv",
    "dataset": "a.arrow",
    "jsonl": "a.jsonl",
    "lines": "a.txt",
    "parquet": "a.parquet",
    "po": "a.po",
    "rst": "lib/a.rst",
    "rst_changes": "lib/CHANGES.rst",
    "rst_components": "django-5/docs/topics/db/a.txt",
    "rst_entities": "lib/a.rst",
    "rst_titles": "lib/a.rst",
    "squad": "a.json",
    "text": "a.txt",
}
PAIR = {"columns": ["word", "tag"]}
BIOES = PAIR | {"scheme": "bioes"}


class Bad(NamedTuple):
    """Files (bytes alone: one with a name of the reader's) and what is said of them.

    `read` counts what a person would call their records, `reasons` names those of the bad ones;
    `error` and `said` match the one line that stops the run, and what stands on stderr.
    """

    name: str
    reader: str
    content: bytes | dict[str, bytes]
    read: int = 0
    reasons: str = ""
    error: str = ""
    kind: str = "documents"
    options: dict[str, Any] | None = None
    said: str = ""

    @property
    def files(self) -> dict[str, bytes]:
        if isinstance(self.content, bytes):
            return {NAMES.get(self.reader, "a.txt"): self.content}
        return self.content


def rows(*found: Any) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in found).encode()


def zipped(members: dict[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return sink.getvalue()


def tarred(members: dict[str, bytes], links: tuple[str, ...] = ()) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for name in links:
            item = tarfile.TarInfo(name)
            item.type, item.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(item)
        for name, data in members.items():
            item = tarfile.TarInfo(name)
            item.size = len(data)
            archive.addfile(item, io.BytesIO(data))
    return sink.getvalue()


def parquet(**columns: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def arrow(**columns: Any) -> bytes:
    sink = io.BytesIO()
    table = pa.table(columns)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def squad(*asked: Any, context: Any = "Bo came in 1962.") -> bytes:
    paragraphs = [{"context": context, "qas": list(asked)}]
    return json.dumps({"data": [{"title": "Bo", "paragraphs": paragraphs}]}).encode()


def question(name: str, start: int = 11, **more: Any) -> dict[str, Any]:
    asked = {"id": name, "question": "When?"}
    return asked | {"answers": [{"text": "1962", "answer_start": start}]} | more


def po(*entries: str) -> bytes:
    header = 'msgid ""\nmsgstr "Content-Type: text/plain; charset=UTF-8\\n"'
    return "\n\n".join([header, *entries]).encode() + b"\n"


def spans(*found: Any, text: str = "Bo met Ada") -> bytes:
    return rows({"text": text, "spans": list(found)}, {"text": "Bo", "spans": [[0, 2, "PER"]]})


ASTRAY = arrow(text=["abc", "def"]).replace(
    b"\3\0\0\0\6\0\0\0", b"\xff\xff\xff\x5f\xff\xff\xff\x6f"
)
LINE = b'{"text": "a good one", "label": "x"}\n'
ZEROS = b"\0" * (32 << 20)
UD = b"1\tBo\tbo\tNOUN\t_\t_\t0\troot\t_\tNE=O\n\n"
PNG = b"\x89PNG\r" + bytes(range(128, 256))

BYTES = [
    Bad("latin-1", "jsonl", LINE + LINE.replace(b"good", b"g\xf6\xf6d"), 2, "not_utf8"),
    Bad("shift-jis", "lines", "東京です\n".encode("shift-jis") + b"good\n", 2, "not_utf8"),
    Bad("utf-16 without its mark", "text", "Hello.".encode("utf-16-le"), 1, "nul_bytes"),
    Bad("utf-16 with its mark", "jsonl", (LINE + LINE).decode().encode("utf-16"), 2),
    Bad("utf-8 with a mark", "jsonl", b"\xef\xbb\xbf" + LINE, 1),
    Bad("utf-8 with a mark in a table", "table", b"\xef\xbb\xbftext\na\n", 1),
    Bad("nul bytes", "jsonl", LINE + b'{"text": "a\0b"}\n', 2, "nul_bytes"),
    Bad("a picture named .txt", "lines", PNG, 1, "not_utf8"),
    Bad("a picture named .rst", "rst", PNG, 1, "not_utf8"),
    Bad("a picture for entities", "rst_entities", PNG, 1, "not_utf8"),
    Bad("a picture for changes", "rst_changes", PNG, 1, "not_utf8"),
    Bad("a picture for components", "rst_components", PNG, 1, "not_utf8"),
    Bad("a picture for titles", "rst_titles", PNG, 1, "not_utf8", kind="summarisation"),
    Bad("a long line", "jsonl", LINE + b"x" * (1 << 17) + b"\n" + LINE, 3, "line_too_long"),
    Bad("an empty file", "jsonl", b""),
    Bad("an empty CoNLL file", "conll", b""),
    Bad("an empty catalogue", "po", b""),
    Bad("an empty SQuAD file", "squad", b""),
    Bad("an empty table", "table", b""),
    Bad("an empty Parquet file", "parquet", b"", error="a.parquet is no whole Parquet file"),
    Bad("white space", "jsonl", b" \n\t\n\n"),
    Bad("white space for CoNLL", "conll", b" \n\t\n\r\n"),
    Bad("no line end at the end", "jsonl", LINE.strip(), 1),
]
ARCHIVES = [
    Bad("a truncated gzip", "jsonl", {"a.jsonl.gz": gzip.compress(LINE)[:-9]}, 1, "truncated"),
    Bad("a gzip that is none", "jsonl", {"a.jsonl.gz": LINE}, 1, "truncated"),
    Bad(
        "a truncated zst",
        "jsonl",
        {"a.jsonl.zst": pa.compress(LINE, "zstd", asbytes=True)[:-5]},
        1,
        "truncated",
    ),
    Bad(
        "a truncated gzip of SQuAD",
        "squad",
        {"a.json.gz": gzip.compress(squad(question("q")))[:-9]},
        1,
        "truncated",
    ),
    Bad(
        "a truncated gzip of messages", "po", {"a.po.gz": gzip.compress(po())[:-9]}, 1, "truncated"
    ),
    Bad(
        "a truncated zip", "jsonl", {"a.zip": zipped({"a.jsonl": LINE})[:-9]}, error="no whole zip"
    ),
    Bad("a zip that is none", "jsonl", {"a.zip": LINE}, error=r"a\.zip is no whole zip file"),
    Bad(
        "a truncated tar",
        "jsonl",
        {"a.tar": tarred({"a.jsonl": LINE * 99})[:1500]},
        error="no whole tar",
    ),
    Bad("a zip bomb", "jsonl", {"a.zip": zipped({"a.jsonl": ZEROS})}, error="more than 1000 times"),
    Bad("a gzip bomb", "jsonl", {"a.jsonl.gz": gzip.compress(ZEROS)}, error="more than 1000 times"),
    Bad("a bomb for messages", "po", {"a.po.gz": gzip.compress(ZEROS)}, error="more than 1000"),
    Bad(
        "a member that climbs out of a zip",
        "jsonl",
        {"a.zip": zipped({"../../x.jsonl": LINE})},
        error=r"'\.\./\.\./x\.jsonl' climbs out",
    ),
    Bad(
        "a member that climbs out of a tar",
        "jsonl",
        {"a.tar.gz": gzip.compress(tarred({"/etc/x.jsonl": LINE}))},
        error=r"'/etc/x\.jsonl' climbs out",
    ),
    Bad(
        "a link in a tar",
        "jsonl",
        {"a.tar": tarred({"a.jsonl": LINE}, ("b.jsonl",))},
        1,
        said=r"left out 1 .*: a\.tar/b\.jsonl",
    ),
    Bad(
        "an archive in an archive",
        "jsonl",
        {"a.zip": zipped({"b.zip": zipped({"a.jsonl": LINE})})},
        said=r"left out 1 .*: a\.zip/b\.zip",
    ),
    Bad(
        "an archive of a kind not read",
        "jsonl",
        {"a.7z": b"7z", "a.jsonl": LINE},
        1,
        said=r"left out 1 .*: a\.7z",
    ),
    Bad("a folder named as a file", "jsonl", {"x.jsonl/y.jsonl": LINE, "x.jsonl/z.md": b"no"}, 1),
    Bad("a file that is not there", "jsonl", {}, error="no file or folder .*gone"),
]
JSON = [
    Bad("truncated JSON", "jsonl", LINE + LINE[:20], 2, "not_json"),
    Bad("JSON that is nested too deeply", "jsonl", b"[" * 60_000 + b"\n" + LINE, 2, "not_json"),
    Bad("a number of 5,000 digits", "jsonl", b'{"n": ' + b"9" * 5000 + b"}\n", 1, "not_json"),
    Bad("a key twice", "jsonl", b'{"text": "a", "text": "b"}\n' + LINE, 2, "duplicated_key"),
    Bad("half a character", "jsonl", b'{"text": "\\ud83d"}\n' + LINE, 2, "half_a_character"),
    Bad("arrays and values", "jsonl", rows(["a"], "b", 3, None), 4, "not_an_object " * 4),
    Bad("an array of all records", "jsonl", b"[\n" + LINE + b"]\n", 3, "not_json not_json"),
    Bad("no text", "jsonl", rows({"txt": "a"}, {"text": "a"}), 2, "no_text"),
    Bad("null for text", "jsonl", rows({"text": None}, {"text": "a"}), 2, "no_text"),
    Bad("a number for text", "jsonl", rows({"text": 5}, {"text": "a"}), 2, "no_text"),
    Bad(
        "no label",
        "jsonl",
        LINE + rows({"text": "a"}, {"text": "b", "label": None}, {"text": "b", "label": " "}),
        4,
        "no_label " * 3,
        kind="classification",
    ),
    Bad(
        "two labels",
        "jsonl",
        LINE + rows({"text": "a", "label": ["x", "y"]}, {"text": "b", "label": ["x"]}),
        3,
        "no_label",
        kind="classification",
    ),
    Bad(
        "an unknown split",
        "jsonl",
        rows({"text": "a", "part": "train"}, {"text": "b", "part": "unseen"}),
        2,
        "unknown_split",
        options={"split": "part"},
    ),
    Bad("no question", "jsonl", LINE, 1, "no_question", kind="question_answering"),
    Bad("no translation", "jsonl", LINE, 1, "no_target", kind="translation"),
    Bad(
        "a blank target",
        "jsonl",
        rows({"text": "a", "target": " \u200b"}),
        1,
        "no_target",
        kind="generation",
    ),
    Bad("no pair", "jsonl", LINE, 1, "no_pair", kind="pairs"),
    Bad(
        "a pair without a label",
        "jsonl",
        rows({"text": "a", "pair": "b"}),
        1,
        "no_label",
        kind="pairs",
    ),
    Bad("no labels", "jsonl", LINE, 1, "no_labels", kind="multilabel"),
    Bad(
        "a blank label among others",
        "jsonl",
        rows({"text": "a", "labels": ["x", " "]}),
        1,
        "bad_labels",
        kind="multilabel",
    ),
    Bad("labels that are no list", "jsonl", rows({"text": "a", "labels": 3}), 1, "bad_labels"),
    Bad("no score", "jsonl", LINE, 1, "no_score", kind="regression"),
    Bad("a score that is no number", "jsonl", rows({"text": "a", "score": "4/5"}), 1, "bad_score"),
    Bad(
        "a blank answer",
        "jsonl",
        rows({"text": "a", "question": "?", "answers": [{"text": "", "start": 0}]}),
        1,
        "no_answers",
        kind="question_answering",
    ),
]
SPANS = [
    Bad("a word that nobody tagged", "jsonl", spans([0, 2, "X"]), 2, "untagged_word", kind="tags"),
    Bad("a span with a blank label", "jsonl", spans([0, 2, " "]), 2, "bad_spans", kind="tags"),
    Bad("no spans", "jsonl", LINE, 1, "no_spans", kind="tokens"),
    Bad("a span outside of the text", "jsonl", spans([0, 99, "X"]), 2, "bad_spans", kind="tokens"),
    Bad("a span before the text", "jsonl", spans([-2, 2, "X"]), 2, "bad_spans", kind="tokens"),
    Bad("a span of nothing", "jsonl", spans([2, 2, "X"]), 2, "bad_spans", kind="tokens"),
    Bad(
        "spans that overlap",
        "jsonl",
        spans([0, 4, "X"], [3, 6, "X"]),
        2,
        "bad_spans",
        kind="tokens",
    ),
    Bad("a span of strings", "jsonl", spans(["0", "2", "X"]), 2, "bad_spans", kind="tokens"),
    Bad("a span without a label", "jsonl", spans([0, 2]), 2, "bad_spans", kind="tokens"),
    Bad("spans that are no list", "jsonl", rows({"text": "a", "spans": "x"}), 1, "bad_spans"),
]
TABLES = [
    Bad(
        "rows of too many cells and too few",
        "table",
        b"text,n\na,1\nb\nc,1,2\n",
        3,
        "wrong_columns " * 2,
    ),
    Bad("a quote without its end", "table", b'text,n\na,1\n"b,2\nc,3\n', 2, "bad_quotes"),
    Bad("a quote in the middle", "table", b'text\n"a" b\nc\n', 2, "bad_quotes"),
    Bad("a table without its column", "table", b"txt\na\n", error="no column .*'text'"),
    Bad("a column twice", "table", b"text,text\na,b\n", error="2 columns 'text'"),
    Bad(
        "a label without its column",
        "table",
        b"text\na\n",
        error="'klass'",
        options={"label": "klass"},
    ),
    Bad("a header in latin-1", "table", b"text,gr\xf6\xdfe\na,b\n", error="header, is not_utf8"),
    Bad("latin-1 in a cell", "table", b"text\nZo\xeb\ngood\n", 2, "not_utf8"),
    Bad("a Parquet file that is none", "parquet", b"PAR1 not", error="no whole Parquet file"),
    Bad("truncated Parquet", "parquet", parquet(text=["a"])[:-9], error="no whole Parquet file"),
    Bad("Parquet without the column", "parquet", parquet(txt=["a"]), error="no column .*'text'"),
    Bad("Parquet with nulls", "parquet", parquet(text=["a", None]), 2, "no_text"),
    Bad("Parquet with numbers", "parquet", parquet(text=[1, 2]), 2, "no_text no_text"),
    Bad("Arrow that is none", "dataset", b"ARROW1 not", error="no whole Arrow file"),
    Bad("Arrow that points out of the file", "dataset", ASTRAY, error="no whole Arrow file"),
    Bad("Arrow with nulls", "dataset", arrow(text=["a", None]), 2, "no_text"),
]
COLUMNS = [
    Bad("I after O", "conll", b"Ada I-PER\nmet O\n\nBo B-PER\n", 2, "tag_scheme", options=PAIR),
    Bad("another label inside", "conll", b"Ada B-PER\nK I-ORG\n", 1, "tag_scheme", options=PAIR),
    Bad("no form of a tag", "conll", b"Ada PER\n\nBo B-PER\n", 2, "unknown_tag", options=PAIR),
    Bad("another scheme's tag", "conll", b"Ada S-PER\n\nBo O\n", 2, "unknown_tag", options=PAIR),
    Bad("E without B", "conll", b"Ada E-PER\n\nBo S-PER\n", 2, "tag_scheme", options=BIOES),
    Bad("B without E", "conll", b"Ada B-PER\n\nBo S-PER\n", 2, "tag_scheme", options=BIOES),
    Bad("a word without a tag", "conll", b"Ada\n\nBo B-PER\n", 2, "wrong_columns", options=PAIR),
    Bad("prose", "conll", b"Some words of prose\n" * 9, 1, "wrong_columns", options=PAIR),
    Bad("no blank line", "conll", b"word O\n" * 200_000, 1, "sentence_too_long", options=PAIR),
    Bad("latin-1 in a sentence", "conll", b"Zo\xeb O\na O\n\nBo O\n", 2, "not_utf8", options=PAIR),
    Bad(
        "no tag column",
        "conll",
        b"a O\n",
        error="expected word and tag",
        options={"columns": ["word"]},
    ),
    Bad("a column gone", "conll_u", UD.replace(b"\t_", b"", 1) + UD, 2, "wrong_columns"),
    Bad("a word gone", "conll_u", UD.replace(b"1", b"2", 1) + UD, 2, "word_numbers"),
    Bad("a head that is none", "conll_u", UD.replace(b"0", b"x", 1) + UD, 2, "bad_conllu"),
    Bad("another text", "conll_u", b"# text = gone\n" + UD + UD, 2, "text_mismatch"),
    Bad(
        "broken tags in MISC",
        "conll_u",
        UD.replace(b"NE=O", b"NE=I-X") + UD,
        2,
        "tag_scheme",
        options={"tag": "NE"},
    ),
    Bad("no MISC", "conll_u", UD.replace(b"NE=O", b"_"), error="found none", options={"tag": "NE"}),
    Bad(
        "no such key", "conll_u", UD, error="'Ner' in MISC .* found NE; set", options={"tag": "Ner"}
    ),
]
QUESTIONS = [
    Bad("truncated SQuAD", "squad", squad(question("q"))[:-9], 1, "not_json"),
    Bad(
        "JSON that is no SQuAD",
        "squad",
        {"a.json": b'{"v": 2}', "b.json": b"[1]", "c.json": b'{"data": {}}', "d.json": b"null"},
        4,
        "not_squad " * 4,
    ),
    Bad(
        "wrong offsets",
        "squad",
        squad(question("a"), question("b", 12), question("c", -4)),
        3,
        "answer_offset answer_offset",
    ),
    Bad("an id twice", "squad", squad(question("a"), question("a")), 2, "duplicate_id"),
    Bad("no answer", "squad", squad(question("a", answers=[]), question("b")), 2, "no_answers"),
    Bad(
        "an answer to the impossible",
        "squad",
        squad(question("a", is_impossible=True), question("b")),
        2,
        "impossible_with_answers",
    ),
    Bad("no questions", "squad", squad(), 1, "no_questions"),
    Bad("no context", "squad", squad(question("a"), context=None), 1, "not_squad"),
    Bad("latin-1 SQuAD", "squad", squad(question("q")).replace(b"Bo", b"B\xf6"), 1, "not_utf8"),
]
MESSAGES = [
    Bad(
        "fuzzy, untranslated and obsolete messages",
        "po",
        po(
            '#, fuzzy\nmsgid "a"\nmsgstr "b"',
            'msgid "c"\nmsgstr ""',
            '#~ msgid "d"\n#~ msgstr "e"',
            'msgid "f"\nmsgstr "g"',
        ),
        4,
        "fuzzy untranslated obsolete",
    ),
    Bad("a string without its end", "po", po('msgid "a"\nmsgstr "b'), 1, "not_po"),
    Bad("no msgstr", "po", po('msgid "a"', 'msgid "b"\nmsgstr "c"'), 1, "not_po"),
    Bad(
        "latin-1 for utf-8", "po", po('msgid "a"\nmsgstr "b"').replace(b"b", b"\xf6"), 1, "not_utf8"
    ),
]
SETTINGS = [
    Bad("no such reader", "jsnl", {"a": LINE}, error=r"no reader 'jsnl' \(did you mean 'jsonl'"),
    Bad("no such option", "conll", b"", error="colums is not a key", options={"colums": []}),
    Bad("no such scheme", "conll", b"", error="scheme is 'bio'", options={"scheme": "bio"}),
]
CASES = [
    *BYTES,
    *ARCHIVES,
    *JSON,
    *SPANS,
    *TABLES,
    *COLUMNS,
    *QUESTIONS,
    *MESSAGES,
    *SETTINGS,
]
