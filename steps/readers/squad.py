"""Reader `squad`: questions of SQuAD 1.1 and 2.0 files (Rajpurkar et al., 2016 and 2018).

`text` is the paragraph, an answer's `start` counts characters; files that count bytes or UTF-16
units are found out by the first answer behind a letter beyond ASCII. The group is the article: its
title, or its number in the file. A file is read whole.
"""

import json
from collections.abc import Iterator
from typing import Any

from steps.readers.columns import Unreadable
from steps.readers.files import SHOWN, File, Named, split_of, text_of

KIND = {"documents", "question_answering"}
SUFFIXES = (".json",)


class Options(Named):
    """None of its own; `xquad.de.json`: language_in_name is `xquad[.](..)[.]json`."""


def read(file: File, options: Options) -> Iterator[dict[str, Any]]:
    """Yield a record a question; what has the wrong shape is a bad record by itself."""
    text, reason = text_of(file)
    if not (text.strip() or reason):
        return
    articles: Any = None
    if not reason:
        try:
            articles = json.loads(text)["data"]
        except (ValueError, RecursionError):  # also numbers of thousands of digits
            reason = "not_json"
        except (TypeError, KeyError, IndexError):
            reason = "not_squad"
        if not (reason or isinstance(articles, list)):
            reason = "not_squad"
    if reason:
        yield _base(file, file.name, file.name) | {"text": text[:SHOWN], "reason": reason}
        return
    seen: set[str] = set()
    for number, article in enumerate(articles):
        yield from _article(file, f"data[{number}]", article, seen)


def _base(file: File, group: str, place: str) -> dict[str, Any]:
    split = split_of(file.name)
    record = {"source": file.name, "group": group, "place": place}
    return record | {"split": split} if split else record


def _article(file: File, at: str, article: Any, seen: set[str]) -> Iterator[dict[str, Any]]:
    title = article.get("title") if isinstance(article, dict) else None
    group = title if isinstance(title, str) and title.strip() else f"{file.name}#{at}"
    if not isinstance(article, dict) or not isinstance(article.get("paragraphs"), list):
        yield _base(file, _plain(group), f"{file.name}:{at}") | _bad(article, "not_squad")
        return
    for number, paragraph in enumerate(article["paragraphs"]):
        here = f"{at}.paragraphs[{number}]"
        for place, record in _paragraph(here, paragraph, seen):
            yield _base(file, _plain(group), f"{file.name}:{place}") | record


def _paragraph(at: str, paragraph: Any, seen: set[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each question of a paragraph, and its id, or its number where it has none."""
    context = paragraph.get("context") if isinstance(paragraph, dict) else None
    if not isinstance(context, str) or not isinstance(paragraph.get("qas"), list):
        yield at, _bad(paragraph, "not_squad")
        return
    if not paragraph["qas"]:
        yield at, {"text": _plain(context), "reason": "no_questions"}
    for number, asked in enumerate(paragraph["qas"]):
        name = asked.get("id") if isinstance(asked, dict) else None
        place = str(name) if type(name) in (str, int) and str(name) else f"{at}.qas[{number}]"
        record: dict[str, Any] = {"text": context}
        try:
            record |= _question(context, asked)
            if place in seen:
                raise Unreadable("duplicate_id")
        except Unreadable as error:
            record["reason"] = error.reason
        seen.add(place)
        plain = {key: _plain(value) for key, value in record.items()}
        yield _plain(place), plain if plain == record else plain | {"reason": "half_a_character"}


def _question(context: str, asked: Any) -> dict[str, Any]:
    """Check one entry of `qas`; Unreadable says what is wrong with it."""
    if not isinstance(asked, dict) or not isinstance(asked.get("question"), str):
        raise Unreadable("not_squad")
    if type(asked.get("id")) not in (str, int) or asked["id"] == "":
        raise Unreadable("no_id")
    impossible, answers = asked.get("is_impossible", False), asked.get("answers", [])
    if type(impossible) is not bool or not isinstance(answers, list):
        raise Unreadable("not_squad")
    if bool(answers) == impossible:
        raise Unreadable("impossible_with_answers" if impossible else "no_answers")
    return {
        "question": asked["question"],
        "answers": [_answer(context, answer) for answer in answers],
    }


def _answer(context: str, answer: Any) -> dict[str, Any]:
    found = [answer.get(key) for key in ("answer_start", "text")] if isinstance(answer, dict) else 0
    if not isinstance(found, list) or [type(value) for value in found] != [int, str]:
        raise Unreadable("not_squad")
    start, text = found
    if not text.strip():
        raise Unreadable("no_answers")
    if start < 0 or not context.startswith(text, start):
        raise Unreadable("answer_offset")
    return {"start": start, "text": text}


def _bad(found: Any, reason: str) -> dict[str, Any]:
    return {"text": _plain(json.dumps(found, ensure_ascii=False)[:SHOWN]), "reason": reason}


def _plain(value: Any) -> Any:
    """Replace half characters, which JSON may hold (\\ud800) and no file of text can."""
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, list):
        return [answer | {"text": _plain(answer["text"])} for answer in value]
    return value
