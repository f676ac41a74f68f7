"""Reads a report as a browser does: its tags, links, texts, table cells and images."""

import base64
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

SVG = "{http://www.w3.org/2000/svg}"


class ReportPage(HTMLParser):
    """A parsed report."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.links, self.text, self.rows = [], [], "", []
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data):
        self.text += data
        if self.rows and self.rows[-1] and self.tags[-1] in ("td", "th"):
            self.rows[-1][-1] += data

    def handle_endtag(self, tag):
        self.tags.append(f"/{tag}")

    @property
    def images(self):
        """The images as (kind, bytes)."""
        found = [link.removeprefix("data:image/").split(";base64,") for link in self.links if link.startswith("data:")]
        return [(kind, base64.b64decode(content)) for kind, content in found]

    @property
    def figures(self):
        """The figures as XML."""
        return [ET.fromstring(content) for kind, content in self.images if kind == "svg+xml"]

    @property
    def drawn_words(self):
        """The words in the figures."""
        return [word for figure in self.figures for word in words_of(figure)]


def words_of(figure):
    """List the texts of a figure, as a reader sees them."""
    return ["".join(element.itertext()) for element in figure.iter(f"{SVG}text")]


def as_xml(image):
    """Decode the figure in a data URI; return it as XML."""
    return ET.fromstring(base64.b64decode(image.source.partition(";base64,")[2]))
