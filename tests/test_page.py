"""The page without a browser: a view of every type, sentences, versions, doors that are shut."""

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from pipelines import page, page_examples, page_guard, page_links, page_reasons
from pipelines.answering import Answerer
from pipelines.page_views import VIEWS
from steps.core.entry import StepError
from steps.core.files import write_json, write_rows, write_text
from steps.core.params import Explain
from steps.tasks import TASKS, task_type
from steps.transfer.attribution import Question, explain
from steps.transfer.attribution.heads import Heads
from tests import paged
from tests.pages import Tags
from tests.tiny import EXAMPLES

SEEN = {  # of an answer what must be on the page, beside its confidence
    "tokens": lambda said: [entity["text"] for entity in said["entities"]],
    "tags": lambda said: [tag["label"] for tag in said["tags"]],
    "question_answering": lambda said: [said["answer"]],
    "regression": lambda said: [f"{said['score']:.3g}", "score"],
    "multilabel": lambda said: said["labels"],
    "retrieval": lambda said: [f"{len(said['vector'])} numbers"],
    **dict.fromkeys(
        ("classification", "sentiment", "pairs"), lambda said: list(said["probabilities"])
    ),
    "translation": lambda said: [said["translation"]],
    "summarisation": lambda said: [said["summary"]],
    "generation": lambda said: [said["continuation"]],
}
TRAVERSAL = [
    "gradio_api/file=/etc/passwd",
    "gradio_api/file=params.yaml",
    "gradio_api/file=../params.yaml",
    "gradio_api/file=%2Fetc%2Fpasswd",
    "gradio_api/file/etc/passwd",
    "gradio_api/proxy=http://127.0.0.1:1/",
    "gradio_api/stream/a/b/c/playlist.m3u8",
    "gradio_api/openapi.json",
    "gradio_api/info",
    "monitoring/summary",
    "static/%2e%2e/%2e%2e/%2e%2e/package.json",
    "static/..%2f..%2f..%2fpackage.json",
    "assets/..%2f..%2f..%2fpackage.json",
    "about/entities/..%2f..%2fparams.yaml",
    "about/..%2f..%2f/card",
    "about/entities/bundle.json",
    "about/other/card",
]


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page reads data/ and reports/ of the present folder: here there are none."""
    monkeypatch.chdir(tmp_path)


def nobody() -> None:
    return None


def tab(answerer: Answerer, challenger: Answerer | None = None) -> page.Tab:
    return page.Tab(answerer.task, lambda: answerer, lambda: challenger)


def texts(kind: str, more: str = "") -> list[str]:
    item = EXAMPLES[kind](3)[2]
    return [item[name] + more for name in task_type(kind).INPUTS]


def test_every_task_type_has_a_view() -> None:
    assert set(VIEWS) == set(TASKS)


@pytest.mark.parametrize("kind", TASKS)
def test_an_answer_is_shown(kind: str, tmp_path: Path) -> None:
    """All of it, well formed, with the version that gave it; what was typed runs nothing."""
    answerer = paged.made(kind, tmp_path / "bundle")
    given = texts(kind, " <script>alert(1)</script>")
    shown, known = tab(answerer).answer(*given)
    (said,) = answerer.answer([dict(zip(answerer.inputs, given, strict=True))])
    assert known["answer"].items() >= said.items()
    assert "champion: version 3, recipe full" in shown
    seen = SEEN[kind](said)
    assert seen
    plain = re.sub("<[^>]*>", "", shown).replace("&lt;", "<").replace("&gt;", ">")
    assert [one for one in seen if one not in plain] == []
    tags = Tags()
    tags.feed(shown)
    assert tags.open == []
    assert "script" not in tags.seen


@pytest.mark.parametrize("kind", TASKS)
def test_what_was_chosen_can_be_asked_about(kind: str, tmp_path: Path) -> None:
    (said,) = paged.made(kind, tmp_path).answer([dict.fromkeys(task_type(kind).INPUTS, "a view")])
    asked = page_reasons.questions(kind, said)
    assert bool(asked) == (task_type(kind).OUTPUT not in ("text", "vector"))
    if "label" in said:
        assert asked[0] == (said["label"], said["label"], None)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "There is no text yet; type one, or choose an example."),
        (" \n ", "There is no text yet; type one, or choose an example."),
        ("a \ud83d b", "There is half of a character in this text; type or paste it again."),
        ("view " * 11_000, "55,000 characters, and the page takes 50,000 at most"),
    ],
    ids=["empty", "blank", "surrogate", "long"],
)
def test_a_text_that_cannot_be_read_gets_a_sentence(
    text: str, sentence: str, tmp_path: Path
) -> None:
    shown, known = tab(paged.made("tokens", tmp_path)).answer(text)
    assert shown.startswith('<p class="sorry" role="alert">')
    assert sentence in shown
    assert known == {}


def test_a_long_text_is_shown_whole(tmp_path: Path) -> None:
    text = "the view of a page, " * 2_000
    shown, _ = tab(paged.made("classification", tmp_path)).answer(text)
    assert "champion" in shown
    shown, _ = tab(paged.made("translation", tmp_path)).answer(text)
    assert text in shown


def test_a_champion_that_is_gone_gets_a_sentence() -> None:
    def gone() -> Answerer:
        raise StepError("entities has no champion; run `outplant promote entities`")

    shown, known = page.Tab("entities", gone, nobody).answer("a text")
    assert "entities has no champion" in shown
    assert known == {}


def test_the_version_that_answered_is_named_when_the_champion_moves(tmp_path: Path) -> None:
    now = [paged.made("tokens", tmp_path / str(number), number) for number in (3, 4)]
    one = page.Tab("tokens", lambda: now[0], nobody)
    assert "version 3" in one.answer("a view")[0]
    now.reverse()
    shown, known = one.answer("a view")
    assert "version 4" in shown
    assert known["bundle"] == tmp_path / "4"


def test_a_challenger_answers_beside_the_champion(tmp_path: Path) -> None:
    champion, other = (paged.made("tokens", tmp_path / str(n), n) for n in (3, 4))
    shown, _ = tab(champion, other).answer("a view")
    assert re.findall("<h3>(.*?)</h3>", shown) == [
        "champion: version 3, recipe full",
        "challenger: version 4, recipe full",
    ]
    assert "challenger" not in tab(champion, champion).answer("a view")[0]


def test_a_challenger_that_fails_takes_no_answer_away(tmp_path: Path) -> None:
    def fails() -> Answerer:
        raise StepError("the challenger's files are gone; run `dvc repro`")

    champion = paged.made("tokens", tmp_path)
    shown, known = page.Tab("tokens", lambda: champion, fails).answer("a view")
    assert "champion: version 3" in shown
    assert "files are gone" in shown
    assert known


def test_without_gradio_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(StepError, match="gradio, which is not installed; run `pip install"):
        page.mount(FastAPI(), {}, {})


def test_a_number_is_compared_with_those_of_the_test_set(tmp_path: Path) -> None:
    _test_set("regression", {"score": pa.float64()})
    shown, _ = tab(paged.made("regression", tmp_path / "bundle")).answer("a view")
    assert "scores go from -1 to 1; 60% of them are below this one" in shown


def test_passages_of_the_test_set_are_ranked(tmp_path: Path) -> None:
    _test_set("retrieval", {"target": pa.string()})
    answerer = paged.made("retrieval", tmp_path / "bundle")
    rows = EXAMPLES["retrieval"](20)
    said = page_examples.answered(answerer, {"text": rows[7]["target"]})
    near = [cosine for _, cosine in said["found"]]
    assert near == sorted(near, reverse=True)
    assert said["found"][0] == (rows[7]["target"], pytest.approx(1.0))
    assert len(near) == 20
    assert rows[7]["target"] in tab(answerer).answer(rows[7]["target"])[0]


def test_examples_are_of_the_test_set_and_short_in_the_list() -> None:
    _test_set("question_answering", {"question": pa.string()})
    found = page_examples.examples("question_answering", ("question", "text"))
    assert len(found) == 20
    assert all(set(one) == {"question", "text"} for one in found)
    assert max(len(page_examples.short(one)) for one in found) <= page_examples.SHORT
    assert page_examples.examples("tokens", ("text",)) == []


def _test_set(kind: str, more: dict[str, Any]) -> None:
    schema = pa.schema([("id", pa.string()), ("text", pa.string()), *more.items()])
    rows = [{name: row[name] for name in schema.names} for row in EXAMPLES[kind](20)]
    write_rows(page_examples.SPLITS / kind / "test.parquet", rows, schema)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    return visitor(paged.made("tokens", tmp_path_factory.mktemp("bundle")), "")


def visitor(answerer: Answerer, token: str) -> TestClient:
    """What asks a server of the task `entities`, without one."""
    app = FastAPI()
    answerer = replace(answerer, task="entities")
    page.mount(app, {"entities": lambda: answerer}, {}, token)
    return TestClient(app, follow_redirects=False)


def test_the_page_answers_and_loads_nothing_from_elsewhere(client: TestClient) -> None:
    assert client.get("/").headers["location"] == "/page/"
    answer = client.get("/page/")
    assert answer.status_code == 200
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    loaded = re.findall(r'<(?:script|link|img|iframe)[^>]*?(?:src|href)="([^"]*)"', answer.text)
    assert loaded
    assert [one for one in loaded if "//" in one] == []
    settings = client.get("/page/config").json()
    assert settings["analytics_enabled"] is False
    assert settings["stylesheets"] == []
    assert settings["footer_links"] == []
    theme = client.get("/page/theme.css").text
    assert re.findall(r"@import|url\((?![\"']?data:)", theme) == []
    assert client.get("/manifest.json").json()["start_url"] == "/page/"


@pytest.mark.parametrize("path", TRAVERSAL)
def test_nothing_else_of_the_disk_is_served(client: TestClient, path: str) -> None:
    answer = client.get(f"/page/{path}")
    assert answer.status_code in (403, 404)
    assert "root:" not in answer.text
    assert "gradio" not in answer.text


def test_no_file_is_taken(client: TestClient) -> None:
    assert client.post("/page/gradio_api/upload", files={"files": b"x"}).status_code == 404


def test_card_lineage_and_report_are_linked_and_run_nothing(tmp_path: Path) -> None:
    client = visitor(paged.made("tokens", tmp_path / "bundle"), "")
    card = client.get("/page/about/entities/card")
    assert "<h1>entities: full</h1>" in card.text
    assert "tags:" not in card.text
    assert "&lt;script&gt;" in card.text
    assert "abc" in client.get("/page/about/entities/lineage").text
    assert "dvc repro report@entities" in client.get("/page/about/entities/report").text
    write_text(page_links.REPORTS / "entities" / "report.html", "<p>the report</p>")
    report = client.get("/page/about/entities/report")
    assert report.text == "<p>the report</p>"
    for one in (card, report):
        assert "default-src 'none'" in one.headers["content-security-policy"]


def test_a_report_of_another_version_is_called_so(tmp_path: Path) -> None:
    answerer = replace(paged.made("tokens", tmp_path / "bundle"), task="entities")
    folder = page_links.REPORTS / "entities"
    assert "report" not in page_links.links(answerer, "/page")
    write_text(folder / "report.html", "")
    said = {"winner": "full", "seed": 1, "candidates": {"full": {"test": {"mean": 0.5}}}}
    write_json(folder / "comparison.json", said)
    assert ">report</a>" in page_links.links(answerer, "/page")
    write_json(folder / "comparison.json", said | {"seed": 2})
    assert "not of this version" in page_links.links(answerer, "/page")


def test_a_token_is_asked_for_as_a_password(tmp_path: Path) -> None:
    client = visitor(paged.made("tokens", tmp_path / "bundle"), "se:cret")
    for path in ("/page/", "/page/about/entities/card", "/page/gradio_api/queue/data"):
        answer = client.get(path)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Basic")
    assert client.get("/page/", auth=("anyone", "se:cret")).status_code == 200
    assert client.get("/page/", headers={"Authorization": "Bearer se:cret"}).status_code == 200
    for wrong in ("Bearer secret", "Basic !", "Basic /w==", "se:cret", ""):
        assert not page_guard.allowed(wrong, "se:cret")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Answerer:
    return paged.tiny(tmp_path_factory.mktemp("tiny"))


def test_a_real_model_is_asked_and_explained(tiny: Answerer) -> None:
    shown, known = tab(tiny).answer("the field crash with a view")
    assert ">crash<small>fix" in shown
    said = page_reasons.why(page_reasons.attributed, known, 0)
    assert re.search(r'class="up s5"[^>]*><b>crash</b>', said)
    heads = page_reasons.why(page_reasons.looked, known, 0)
    assert page_reasons.NO_PROOF in heads
    assert heads.count("<summary>") == 2
    assert "nothing here to ask about" in page_reasons.why(page_reasons.looked, {}, None)


def test_the_mean_over_heads_is_the_attention_of_the_report(tiny: Answerer) -> None:
    item = {"text": "the field crash with a view"}
    asked = Question(item, "fix", (10, 15))
    layers = Heads(tiny.bundle).each(asked)
    last = np.mean([[mark.value for mark in head] for head in layers[-1]], axis=0)
    assert all(0 < sum(mark.value for mark in head) <= 1 for layer in layers for head in layer)
    (found,) = explain(tiny.bundle, [asked], Explain(method="attention", steps=1, errors=1))
    assert last / last.max() == pytest.approx([mark.value for mark in found.marks], abs=1e-3)


def test_a_model_without_heads_says_so(tmp_path: Path) -> None:
    said = page_reasons.looked(tmp_path, "tokens", {"text": "a"}, ("a", "a", None))
    assert "has no heads" in said


def luminance(colour: str) -> float:
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_colours_have_contrast(dark: bool) -> None:
    """Of text 4.5 on the page and on a label's colour, of bars 3 (WCAG 2.1, 1.4.3 and 1.4.11)."""
    blocks = re.findall(r"gradio-container[^{]*{([^}]*--ink[^}]*)}", page.CSS.read_text())
    colours = dict(re.findall(r"--(\w+): (#\w{6})", blocks[dark]))
    paper = "#1f2937" if dark else "#ffffff"
    labels = [name for name in colours if re.fullmatch(r"c\d", name)]
    assert len(labels) == 8
    for name in labels:
        assert contrast(colours["ink"], colours[name]) >= 4.5
    for name in ("ink", "muted", "link"):
        assert contrast(colours[name], paper) >= 4.5
    for name in ("bar", "good", "bad"):
        assert contrast(colours[name], paper) >= 3
