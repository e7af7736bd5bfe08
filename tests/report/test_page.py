"""Pages: text is escaped, and nothing is fetched."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from lenet5c.report import page

HOSTILE = "<script>alert(1)</script>\"' onload=x & \0 \ud800"
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x01\x2c\0\0\0\x96"


class Reader(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.open = [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, *each) for each in attributes]
        if tag not in ("meta", "img", "!doctype"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def whole(words):
    return page.page(
        words,
        page.heading(words, words),
        page.facts((words, words, words), (words, 2, "")),
        page.section(
            words,
            page.paragraph(words),
            page.preformatted(words),
            page.preformatted(words, command=True),
        ),
        page.picture(PNG, words, words),
        page.table([words, words], [[words, 1]], numbers=(1,), marked=(0,)),
    )


def test_hostile_texts_stay_texts():
    plain, hostile = Reader(whole("quiet")), Reader(whole(HOSTILE))
    assert plain.tags == hostile.tags and not plain.open and not hostile.open
    assert [each[:2] for each in plain.attributes] == [each[:2] for each in hostile.attributes]
    assert "script" not in hostile.tags
    whole(HOSTILE).encode()


def test_nothing_is_fetched_and_only_its_own_style_applies():
    html = whole("x")
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    assert policy.startswith("default-src 'none'; img-src data:;") and "script" not in policy
    (style,) = re.findall("<style>(.*?)</style>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy
    assert (
        "url(" not in html
        and "@import" not in html
        and "http:" not in html
        and "https:" not in html
    )
    assert not [
        name
        for _, name, _ in Reader(html).attributes
        if name in ("style", "href") or name.startswith("on")
    ]


def test_a_picture_is_inside_at_two_thirds_of_its_pixels():
    html = page.picture(PNG, "", "")
    assert base64.b64encode(PNG).decode() in html and 'width="200" height="100"' in html


@pytest.mark.parametrize("blocks, there", [(["", ""], False), (["", page.paragraph("x")], True)])
def test_an_empty_section_is_left_out(blocks, there):
    assert bool(page.section("title", *blocks)) == there
