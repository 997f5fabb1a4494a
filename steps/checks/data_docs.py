"""A Great Expectations result as one HTML page, by its own renderers.

Its own page takes styles and scripts from the network, carries dates and random ids, and puts
unexpected values into the page unescaped. This one needs nothing but the file, runs no script, and
has the same bytes for the same result.
"""

import re
from dataclasses import dataclass
from html import escape
from itertools import count
from typing import Any

CLIP = 400  # characters shown of a value
_LINK = re.compile(r'<a href="\.\./[^"]*"\s*>(.*?)</a>', re.S)  # to pages of a site not made here
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{{ title | e }}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #212529; max-width: 1100px;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h5 { font-size: 1.1rem; } h5, h6, p { margin: 0; }
h6, .h6 { font-size: .95rem; font-weight: 600; }
.alert { background: #eef1f4; border-left: 4px solid #8a94a0; padding: .5rem .9rem;
  margin: 1.2rem 0 .3rem; }
table { border-collapse: collapse; width: 100%; }
th { white-space: nowrap; } th:first-child { width: 4rem; } th:nth-child(2) { width: 45%; }
td table th { width: auto !important; }
th, td { text-align: left; vertical-align: top; padding: .4rem .7rem;
  border-bottom: 1px solid #dde2e6; overflow-wrap: anywhere; }
td table { font-size: .9em; margin-top: .4rem; }
.col-6 { max-width: 28rem; }
.badge { background: #5c6770; color: white; border-radius: .3rem; padding: .05rem .4rem;
  font-size: .9em; }
.text-success { color: #18794e; } .text-danger { color: #c62a2f; } .text-warning { color: #ad5700; }
.fas { font-style: normal; font-weight: 700; }
.fas::before { content: "\\2717"; } .fa-check-circle::before { content: "\\2713"; }
.fa-exclamation-triangle::before { content: "!"; }
[data-toggle=collapse] { display: none; }
.failure { border-left: 4px solid #c62a2f; padding: .1rem .9rem .4rem; margin: 1rem 0; }
.failure.warning { border-color: #ad5700; } .failure b { color: #c62a2f; }
.failure.warning b { color: #ad5700; } .failure p, td.text { overflow-wrap: anywhere; }
.failure table { font-size: .9em; margin-top: .3rem; table-layout: auto; }
.failure th { width: auto !important; } .failure td { padding: .2rem .7rem; }
.failure td:not(.text) { white-space: nowrap; } td.text { width: 100%; }
pre { white-space: pre-wrap; }
</style>
</head>
<body>
<h1>{{ title | e }}</h1>
{% for one in failures %}
<div class="failure {{ "warning" if one.level == "warning" }}">
<p><b>{{ one.level }}</b> {{ one.said | e }}</p>
{% if one.rows %}
<table>
<tr><th>id</th><th>where</th><th>text</th></tr>
{% for row in one.rows %}
<tr><td>{{ row.id | e }}</td><td>{{ row.place | e }}</td>
<td class="text">{{ row.text | e }}</td></tr>
{% endfor %}
</table>
{% endif %}
</div>
{% endfor %}
{% for section in sections %}
{% set section_loop = loop -%}
{% include "section.j2" %}
{% endfor %}
</body>
</html>
"""


@dataclass(frozen=True)
class Failure:
    """What a person has to read first; `level`: critical, warning or raised."""

    level: str
    said: str
    rows: list[dict[str, str]]


def page(results: list[Any], name: str, title: str, failures: list[Failure]) -> str:
    """Render ExpectationValidationResults of a suite: what failed, with its rows, above them."""
    from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
    from great_expectations.render.view import DefaultJinjaPageView

    document = ValidationResultsPageRenderer().render(_whole(results, name)).to_json_dict()
    document["sections"] = document["sections"][1:]  # the first holds load time and run id
    view, numbers = DefaultJinjaPageView(), count(1)
    view.env.filters["generate_html_element_uuid"] = lambda prefix: f"{prefix}{next(numbers)}"
    template = view.env.from_string(_PAGE)
    html = template.render(_escaped(document), title=title, failures=failures)
    lines = (line.strip() for line in _LINK.sub(r"\1", html).splitlines())
    return "\n".join(line for line in lines if line) + "\n"


def _whole(results: list[Any], name: str) -> Any:
    from great_expectations.core.expectation_validation_result import (
        ExpectationSuiteValidationResult,
    )

    return ExpectationSuiteValidationResult(
        results=results,
        success=all(one.success for one in results),
        suite_name=name,
        statistics=_statistics(results),
        meta={},
    )


def _statistics(results: list[Any]) -> dict[str, Any]:
    good = sum(bool(one.success) for one in results)
    return {
        "evaluated_expectations": len(results),
        "successful_expectations": good,
        "unsuccessful_expectations": len(results) - good,
        "success_percent": 100 * good / len(results) if results else None,
    }


def _escaped(content: Any) -> Any:
    """Escape the plain text in tables: values of the data, which the templates trust."""
    if isinstance(content, list):
        return [_escaped(item) for item in content]
    if not isinstance(content, dict):
        return content
    made = {key: _escaped(value) for key, value in content.items()}
    if "table" in made:
        made["table"] = [
            [escape(cell[:CLIP]) if isinstance(cell, str) else cell for cell in row]
            for row in made["table"]
        ]
    return made
