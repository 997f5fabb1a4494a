"""A Great Expectations result as one HTML page, by its own renderers.

Its own page takes styles and scripts from the network, carries dates and random ids, and puts
unexpected values into the page unescaped. This one needs nothing but the file, runs no script, and
has the same bytes for the same result.
"""

import re
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
th { white-space: nowrap; }
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
pre { white-space: pre-wrap; }
</style>
</head>
<body>
<h1>{{ title | e }}</h1>
{% for section in sections %}
{% set section_loop = loop -%}
{% include "section.j2" %}
{% endfor %}
</body>
</html>
"""


def page(result: Any, title: str) -> str:
    """Render an ExpectationSuiteValidationResult."""
    from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
    from great_expectations.render.view import DefaultJinjaPageView

    document = ValidationResultsPageRenderer().render(result).to_json_dict()
    overview = document["sections"][0]
    overview["content_blocks"] = [  # the fold-out holds load time and run id
        block for block in overview["content_blocks"] if block["content_block_type"] != "collapse"
    ]
    view, numbers = DefaultJinjaPageView(), count(1)
    view.env.filters["generate_html_element_uuid"] = lambda prefix: f"{prefix}{next(numbers)}"
    html = view.env.from_string(_PAGE).render(_escaped(document), title=title)
    html = html.replace("Data asset: None<br>", "")
    lines = (line.strip() for line in _LINK.sub(r"\1", html).splitlines())
    return "\n".join(line for line in lines if line) + "\n"


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
