"""Reader `rst_components`: a paragraph of Django's documentation, and the component it is about."""

from collections.abc import Iterator
from typing import Any

from steps.core.params import Section
from steps.readers.files import File
from steps.readers.inline import strip
from steps.readers.markup import page

KIND = {"classification"}
SUFFIXES = (".rst", ".txt")
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


class Options(Section):
    """None."""


def read(file: File, options: Options) -> Iterator[dict[str, Any]]:
    """Yield the paragraphs of pages that one component alone owns."""
    found = page(file)
    yield from found.bad()
    label = component(found.group(found.blocks[0])) if found.blocks else None
    for number, block in enumerate(found.blocks if label else (), 1):
        yield found.record(block, number, text=strip(block.text).text, label=label)


def component(name: str) -> str | None:
    """Say whose page a file is; `name` is its path, from the library's folder on."""
    _, found, below = name.partition("/docs/")
    starts = ((label, start) for label, group in COMPONENTS.items() for start in group)
    return next((label for label, start in starts if found and below.startswith(start)), None)
