"""What all pages promise: whole in themselves, well formed, nothing that runs."""

import re
from html.parser import HTMLParser


class Tags(HTMLParser):
    """Counts the tags that are open; a page that is well formed ends with none."""

    VOID = ("meta", "br", "hr", "path", "use", "rect")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def assert_whole(page: str) -> None:
    """Well formed, no script, nothing from elsewhere, every link has its section."""
    tags = Tags()
    tags.feed(page)
    assert not tags.open
    assert not tags.seen & {"script", "link", "img", "iframe"}
    loads = re.findall(r'(?:src|href)="([^"]*)"|url\(([^)]*)\)|@import', page)
    found = {one for pair in loads for one in pair if one}
    assert {one for one in found if not one.startswith("#")} == set()
    assert {one[1:] for one in found} <= set(re.findall(r'id="([^"]*)"', page))
    assert "default-src 'none'" in page
