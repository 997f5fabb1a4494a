"""Reader `rst_components`: a paragraph of Django's documentation, and the component it is about."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from steps.readers.inline import strip
from steps.readers.markup import pages

KIND = {"classification"}
COMPONENTS = {  # the folder or file of a page, below docs/, says what it is about
    "db": ("ref/models/", "topics/db/", "ref/contrib/postgres/", "ref/databases", "ref/migration"),
    "gis": ("ref/contrib/gis/",),
    "views": ("ref/class-based-views/", "topics/class-based-views/"),
    "http": ("topics/http/", "ref/request-response", "ref/middleware", "ref/urls"),
    "forms": ("ref/forms/", "topics/forms/"),
    "auth": ("topics/auth/", "ref/contrib/auth"),
    "admin": ("ref/contrib/admin/", "howto/custom-management", "ref/django-admin"),
    "templates": ("ref/templates/", "topics/templates", "howto/custom-template"),
    "contributing": ("internals/",),
    "deployment": ("howto/deployment/", "howto/static-files/"),
}


def read(root: Path) -> Iterator[dict[str, Any]]:
    """Yield the paragraphs of pages that one component alone owns."""
    for page in pages(root):
        label = component(page.group(page.blocks[0])) if page.blocks else None
        for block in page.blocks if label else ():
            text = strip(block.text).text
            yield {
                "source": page.library,
                "group": page.group(block),
                "text": text,
                "label": label,
            }


def component(name: str) -> str | None:
    """Say whose page a file is; `name` is its path, from the library's folder on."""
    _, found, below = name.partition("/docs/")
    starts = ((label, start) for label, group in COMPONENTS.items() for start in group)
    return next((label for label, start in starts if found and below.startswith(start)), None)
