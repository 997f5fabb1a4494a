"""Word vectors: every file format is read, and a bundle knows what its file knew."""

import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest

from steps.core.entry import StepError
from steps.core.files import digest
from steps.core.params import Recipe
from steps.prepare import prepare
from steps.tasks import TASKS, task_type
from steps.tasks.tokens import WORD
from steps.transfer.plain.word_vectors import SMOOTH, Means, Vectors, vector_file
from steps.transfer.strategies import Material, Reading, static
from tests.tiny import EXAMPLES

ABLE = [kind for kind in TASKS if task_type(kind).OUTPUT in static.OUTPUTS]
SMALL = {"the": [1.0, 0.0], "Page": [0.0, 2.0], "model": [0.5, -0.25]}


def write_glove(file: Path, rows: dict[str, list[float]]) -> Path:
    lines = [" ".join([word, *map(str, row)]) for word, row in rows.items()]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n")
    return file


def write_known(folder: Path) -> Path:
    """Random vectors for all words of the tiny examples."""
    found = [str(v) for kind in ABLE for e in EXAMPLES[kind](8) for v in e.values()]
    words = sorted({word for text in found for word in WORD.findall(text)})
    rows = np.random.default_rng(0).normal(size=(len(words), 24)).round(3).tolist()
    write_glove(folder / "glove.txt", dict(zip(words, rows, strict=True)))
    return folder


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Path:
    return write_known(tmp_path_factory.mktemp("start"))


@pytest.fixture(scope="module")
def fasttext(tmp_path_factory) -> tuple[Path, object]:
    """A fastText model in its own format, and as gensim has it."""
    from gensim.models import FastText
    from gensim.models.fasttext import save_facebook_model

    texts = [WORD.findall(example["text"]) for example in EXAMPLES["classification"](20)]
    model = FastText(texts, vector_size=4, min_count=1, bucket=50, workers=1, seed=1, epochs=1)
    file = tmp_path_factory.mktemp("fasttext") / "model.bin"
    save_facebook_model(model, str(file))
    return file, model.wv


def material(kind: str) -> Material:
    found, module = EXAMPLES[kind](8), task_type(kind)
    named = module.labels(found)
    return Material(kind, module.classes(named) if hasattr(module, "classes") else named, found, 64)


def settings(**more):
    said = {"strategy": "static", "start": "x", "inverse_regularisation": 1e4}
    return static.Settings(**said | more)


@pytest.mark.parametrize("kind", ABLE)
def test_it_learns_its_own_eight_examples_and_needs_its_bundle_alone(start, tmp_path, kind):
    found = material(kind)
    assert static.fit(found, settings(), start, 1, tmp_path / "one") == {"known_words": 1.0}
    scorer = static.load(Path("none"), tmp_path / "one")
    said = found.type.decode(found.examples, scorer(Reading(32), found.examples), found.classes)
    values, truth = [s.value for s in said], [found.type.reference(e) for e in found.examples]
    if kind == "retrieval":
        assert values == [1] * 8
    elif kind == "regression":
        assert values == pytest.approx(truth, abs=0.1)
    else:
        assert values == truth
    static.fit(found, settings(), start, 2, tmp_path / "two")
    assert digest(tmp_path / "one") == digest(tmp_path / "two")
    assert {path.suffix for path in (tmp_path / "one").iterdir()} == {".json", ".safetensors"}


@pytest.mark.parametrize("kind", ABLE)
def test_a_prediction_does_not_depend_on_its_batch(start, tmp_path, kind):
    found = material(kind)
    static.fit(found, settings(), start, 1, tmp_path)
    scorer = static.load(Path("none"), tmp_path)
    items = [dict.fromkeys(found.type.INPUTS, text) for text in ("", "…", "the xyzzy", "a page")]
    items += EXAMPLES[kind](10)
    for item, raw in zip(items, scorer(Reading(32), items), strict=True):
        (alone,) = scorer(Reading(1), [item])
        if kind == "retrieval":
            alone, raw = alone["query"], raw["query"]  # noqa: PLW2901
        np.testing.assert_allclose(alone, raw, atol=1e-6)


def test_text_and_binary_files_with_and_without_gz_are_the_same_table(tmp_path):
    from gensim.models import KeyedVectors

    glove = write_glove(tmp_path / "glove.txt", SMALL)
    model = KeyedVectors(2)
    model.add_vectors(list(SMALL), np.array(list(SMALL.values()), dtype=np.float32))
    model.save_word2vec_format(str(tmp_path / "w2v.vec"), binary=False)
    model.save_word2vec_format(str(tmp_path / "w2v.bin"), binary=True)
    files = [glove, tmp_path / "w2v.vec", tmp_path / "w2v.bin"]
    for file in list(files):
        files.append(file.with_name(f"{file.name}.gz"))
        with gzip.open(files[-1], "wb") as stream:
            stream.write(file.read_bytes())
    for file in files:
        read = Vectors.read(file, 100)
        assert list(read.number) == list(SMALL), file
        assert read.rows.dtype == np.float16
        np.testing.assert_array_equal(read.rows, list(SMALL.values()))
        assert list(Vectors.read(file, 2).number) == ["the", "Page"]


def test_a_fasttext_model_knows_words_by_their_pieces_in_the_bundle_too(fasttext, tmp_path):
    file, model = fasttext
    read = Vectors.read(file, 10)
    assert len(read.number) == 10
    read.save(tmp_path)
    kept = Vectors.load(tmp_path)
    for word in ("documentation", "undocumented", "crashes"):
        np.testing.assert_allclose(kept(word), model[word], atol=1e-3)
        assert kept(word).any()


def test_a_word_is_found_in_another_case_before_it_is_unknown():
    read = Vectors(list(SMALL), np.array(list(SMALL.values()), dtype=np.float16))
    for word, known in (("The", "the"), ("PAGE", "Page"), ("page", "Page"), ("MODEL", "model")):
        assert read(word).tolist() == SMALL[known]
    assert read("view").tolist() == [0, 0]


def test_a_text_is_the_mean_of_its_words_by_their_rarity_less_what_is_common():
    read = Vectors(list(SMALL), np.array(list(SMALL.values()), dtype=np.float16))
    means = Means.fit(read, ["the model", "the Page", "the view"])
    assert means.shares == {word: (3 if word == "the" else 1) / 6 for word in means.shares}
    weight = {word: SMOOTH / (SMOOTH + share) for word, share in means.shares.items()}
    plain = (
        weight["the"] * np.array(SMALL["the"]) + np.array(SMALL["model"]) * weight["model"]
    ) / 2
    common = means.common
    assert np.linalg.norm(common) == pytest.approx(1)
    np.testing.assert_allclose(means("the model"), plain - common * (common @ plain), atol=1e-6)
    unseen = Vectors(["new"], np.ones((1, 2), dtype=np.float16))
    assert Means(unseen, {}, np.zeros(2))("new").tolist() == [1, 1]  # its share is nought


def test_prepare_copies_the_one_file_of_vectors(tmp_path):
    write_glove(tmp_path / "start" / "glove.txt", SMALL)
    (tmp_path / "start" / "LICENSE").write_text("free")
    recipe = Recipe(strategy="static", start="x")
    prepare("static", recipe, tmp_path / "start", tmp_path / "out")
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"glove.txt", "start.json"}
    shutil.copy(tmp_path / "start/glove.txt", tmp_path / "start/other.vec")
    with pytest.raises(StepError, match=r"start has 2 files of word vectors; expected one"):
        prepare("static", recipe, tmp_path / "start", tmp_path / "out")
    with pytest.raises(StepError, match=r"has no files .* it has: nothing; mend the source"):
        vector_file(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "said",
    [b"the 1 2\npage 3\n", b"3 2\nthe 1 2\npage 3\n", b"2 3\n\xff\xfe", b"", b"no vectors\n"],
)
def test_a_file_that_holds_no_vectors_is_one_line(tmp_path, said):
    (tmp_path / "bad.txt").write_bytes(said)
    with pytest.raises(StepError, match=r"bad\.txt is no whole file of word vectors"):
        Vectors.read(tmp_path / "bad.txt", 10)


def test_a_damaged_fasttext_file_is_one_line(fasttext, tmp_path):
    (tmp_path / "bad.bin").write_bytes(fasttext[0].read_bytes()[:200])
    with pytest.raises(StepError, match=r"bad\.bin is no whole file of word vectors"):
        Vectors.read(tmp_path / "bad.bin", 10)
