"""Reads a page as a browser would: elements nest, nothing comes from outside, charts hold their data."""

import json
import re
from html.parser import HTMLParser
from typing import Any

from router_sdk.pages.page import page_file

VOID = {"meta", "br", "hr", "img", "link", "input"}
OURS = ("uPlot.iife.min.js", "uPlot.min.css", "charts.js")


class PageReader(HTMLParser):
    """Collects elements, words and the data of charts, and fails where elements do not nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.words: list[str] = []
        self.charts: list[dict[str, Any]] = []
        self._in_chart = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        assert not {"src", "href", "srcset"} & {name for name, _ in attrs}
        self._in_chart = ("type", "application/json") in attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self._in_chart = False

    def handle_data(self, data: str) -> None:
        if self._in_chart:
            self.charts.append(json.loads(data))
        elif "script" not in self.open and "style" not in self.open:
            self.words.append(data)


def read_page(page: str) -> PageReader:
    """Read a page, or a part of one."""
    reader = PageReader()
    reader.feed(page)
    reader.close()
    assert not reader.open
    assert not {"link", "img", "iframe", "object"} & set(reader.seen)
    for name in OURS:  # the script names its home in a comment
        page = page.replace(page_file(name), "")
    assert not re.search(r"https?:|url\(|@import|\bnan\b|\binf\b|\bInfinity\b", page, re.IGNORECASE)
    return reader
