"""Reads a page as a browser would, and insists that its tags are closed in order."""

import html.parser

VOID = {"meta", "img", "br", "link"}


class Reader(html.parser.HTMLParser):
    """Collects tags, attributes, ids and text, and insists that tags are closed in order."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.ids, self.text, self.attributes = [], [], [], [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.text.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())

    def of(self, *names):
        return [value for _, name, value in self.attributes if name in names]
