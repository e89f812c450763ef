from __future__ import annotations

import gzip
import sys
from collections.abc import Iterator

import pytest

from metier.errors import MetierError
from metier.sources.document import Document, read_documents
from metier.sources.markup import strip_html
from tests.sources.web_server import Reply, Site, serving

pytest.importorskip("feedparser", reason="needs the extra: pip install 'metier[collect]'")

RSS = """<?xml version="1.0" encoding="UTF-8"?>
<rss version="2.0" xmlns:content="http://purl.org/rss/1.0/modules/content/"
 xmlns:cc="http://creativecommons.org/ns#" xmlns:dc="http://purl.org/dc/elements/1.1/"><channel>
<title>Anvil News</title><link>https://anvils.example/</link><copyright>© 2024 Anvil News, CC BY 4.0</copyright>
<item><title>Prices &amp; steel</title><link>https://anvils.example/1</link><guid>a1</guid>
<author>jane@anvils.example (Jane Doe)</author><dc:creator>Jane Doe</dc:creator>
<pubDate>Mon, 04 Mar 2024 23:30:00 -0500</pubDate><description>Short.</description>
<content:encoded><![CDATA[<p>Steel <b>rose</b> 4&nbsp;%.</p><script>steal()</script><ul><li>iron</li><li>coke</li></ul>
]]></content:encoded></item>
<item><title>Free</title><link>https://anvils.example/2</link><description>A&lt;br/&gt;B</description>
<cc:license rdf:resource="https://creativecommons.org/publicdomain/zero/1.0/"
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/></item>
</channel></rss>"""

ATOM = """<?xml version="1.0" encoding="utf-8"?>
<feed xmlns="http://www.w3.org/2005/Atom"><title>Ward</title><id>urn:f</id><updated>2024-01-02T00:00:00Z</updated>
<entry><title type="html">A &lt;i&gt;new&lt;/i&gt; drug</title><id>urn:1</id><link href="https://ward.example/1"/>
<updated>2024-02-03T10:00:00Z</updated><published>2024-02-01T10:00:00Z</published><rights>Crown copyright</rights>
<summary type="text">a &lt; b</summary></entry>
<entry><title>Empty</title><id>urn:2</id><updated>2024-02-04T10:00:00Z</updated></entry></feed>"""


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as started:
        started.pages["/rss"] = Reply(RSS, headers={"Content-Type": "application/rss+xml"})
        yield started


def read(site: Site, path: str, **options: bool) -> list[Document]:
    return list(read_documents(f"rss:{site.base}{path}", **options))  # type: ignore[arg-type]


def test_rss(site: Site) -> None:
    steel, free = read(site, "/rss")
    assert steel.text == "Prices & steel\n\nSteel rose 4 %.\n\niron\n\ncoke"
    assert (steel.title, steel.source, steel.date) == ("Prices & steel", "https://anvils.example/1", "2024-03-05")
    assert (steel.licence, steel.domain) == ("© 2024 Anvil News, CC BY 4.0", "news")
    assert steel.meta == {"feed": f"{site.base}/rss", "feed_title": "Anvil News"}
    assert "Jane" not in steel.to_json()
    assert (free.text, free.date) == ("Free\n\nA\nB", None)
    assert free.licence == "https://creativecommons.org/publicdomain/zero/1.0/"
    assert [d.id for d in read(site, "/rss")] == [steel.id, free.id] != [free.id, steel.id]


def test_atom_packed(site: Site) -> None:
    site.pages["/atom"] = Reply(gzip.compress(ATOM.encode()), headers={"Content-Encoding": "gzip"})
    drug, empty = read(site, "/atom")
    assert (drug.text, drug.date, drug.licence) == ("A new drug\n\na < b", "2024-02-01", "Crown copyright")
    assert (empty.text, empty.date, empty.licence) == ("Empty", "2024-02-04", "unknown")
    assert empty.source == f"{site.base}/atom"  # it has no link of its own


def test_offline(site: Site) -> None:
    with pytest.raises(MetierError, match=r"never fetched[\s\S]*/rss[\s\S]*without --offline"):
        read(site, "/rss", offline=True)
    assert site.asked == []
    first = read(site, "/rss")
    assert read(site, "/rss", offline=True) == first
    assert site.paths() == ["/rss"]
    site.pages["/rss"] = Reply(RSS.replace("Free", "Fresh"))
    assert read(site, "/rss")[1].title == "Fresh"  # a feed changes: with a network it is asked anew


def test_damaged_feeds(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.pages["/page"] = Reply("<!doctype html><title>Hi</title>", headers={"Content-Type": "text/html"})
    with pytest.raises(MetierError, match=r"not an RSS or Atom feed[\s\S]*text/html[\s\S]*/page"):
        read(site, "/page")
    site.pages["/empty"] = Reply("")
    with pytest.raises(MetierError, match="not an RSS or Atom feed"):
        read(site, "/empty")
    site.pages["/broken"] = Reply('<rss version="2.0"><channel><title>x</title><item')
    with pytest.raises(MetierError, match=r"damaged[\s\S]*/broken"):
        read(site, "/broken")
    site.pages["/none"] = Reply('<rss version="2.0"><channel><title>x</title></channel></rss>')
    assert read(site, "/none") == []  # whole, though the server does not say what it is
    site.pages["/half"] = Reply(RSS[: RSS.index("<item><title>Free")])
    assert [d.title for d in read(site, "/half")] == ["Prices & steel"]
    assert "1 entries could be read" in caplog.text


def test_refusals(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("metier.sources.web.time.sleep", waits.append)
    with pytest.raises(MetierError, match=r"status 404[\s\S]*/none[\s\S]*check the address"):
        read(site, "/none")
    site.pages["/busy"] = Reply(status=503)
    with pytest.raises(MetierError, match=r"status 503[\s\S]*/busy[\s\S]*later"):
        read(site, "/busy")
    assert waits == [1.0, 2.0]
    assert site.paths().count("/busy") == 3
    site.pages["/date"] = [Reply(status=429, headers={"Retry-After": "Mon, 04 Mar 2024 10:00:00 GMT"}), Reply(RSS)]
    assert len(read(site, "/date")) == 2
    assert waits[2:] == [0.0]  # that time is past


def test_bounds(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metier.sources.rss._FEED_BYTES", 900)
    with pytest.raises(MetierError, match=r"larger than 900 bytes[\s\S]*/rss"):
        read(site, "/rss")
    site.pages["/bomb"] = Reply(gzip.compress(b" " * 5_000_000), headers={"Content-Encoding": "gzip"})
    with pytest.raises(MetierError, match="larger than 900 bytes"):
        read(site, "/bomb")
    site.pages["/short"] = Reply("x", headers={"Content-Length": "500"})
    with pytest.raises(MetierError, match=r"broke off[\s\S]*/short"):
        read(site, "/short")
    with pytest.raises(MetierError, match="never fetched"):
        read(site, "/rss", offline=True)  # what was not whole is not kept
    monkeypatch.setattr("metier.sources.web.DEADLINE_SECONDS", -1.0)
    site.pages["/slow"] = Reply("x")
    with pytest.raises(MetierError, match="not whole after"):
        read(site, "/slow")


def test_redirects(site: Site) -> None:
    site.pages["/old"] = Reply(status=301, headers={"Location": "/rss"})
    assert len(read(site, "/old")) == 2
    site.pages["/away"] = Reply(status=302, headers={"Location": "ftp://127.0.0.1/x"})
    with pytest.raises(MetierError, match="refused"):
        read(site, "/away")
    site.pages["/round"] = Reply(status=302, headers={"Location": "/round"})
    with pytest.raises(MetierError, match="redirects in a circle"):
        read(site, "/round")


def test_addresses_and_the_missing_library(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for url in ("feed.xml", "file:///etc/passwd", "ftp://x/y", ""):
        with pytest.raises(MetierError, match="not the address of a feed"):
            read_documents(f"rss:{url}")
    for url in ("http://", "http://a b/", "http://x:port/", "http://[/"):
        with pytest.raises((MetierError), match="not a"):
            list(read_documents(f"rss:{url}"))
    with serving() as gone:
        pass
    with pytest.raises(MetierError, match=rf"cannot be reached[\s\S]*{gone.base}/feed[\s\S]*network"):
        read(gone, "/feed")
    monkeypatch.setitem(sys.modules, "feedparser", None)
    with pytest.raises(MetierError, match=r"feedparser[\s\S]*metier\[collect\]"):
        read_documents(f"rss:{site.base}/rss")


def test_fragments_of_html() -> None:
    assert strip_html("<p>a <b>b</b>c</p><p>d&amp;e</p>") == "a bc\n\nd&e"
    assert strip_html("<style>x{}</style>x<br>y <!-- no --> z") == "x\ny z"
    assert strip_html("1 < 2, and 3") == "1 < 2, and 3"


def test_an_entry_that_was_edited_is_read_once_as_it_is_now(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    def entry(number: int, text: str, day: int, published: int = 1) -> str:
        dates = f"<updated>2024-03-{day:02}T00:00:00Z</updated><published>2024-03-{published:02}T00:00:00Z</published>"
        return f"<entry><title>T</title><id>urn:{number}</id>{dates}<summary>{text}</summary></entry>"

    entries = [entry(1, "draft", 2), entry(2, "other", 3), entry(1, "last", 9), entry(1, "second", 4)]
    head = '<feed xmlns="http://www.w3.org/2005/Atom"><title>W</title><id>urn:f</id>'
    site.pages["/edited"] = Reply(f"{head}{''.join(entries)}</feed>")
    found = read(site, "/edited")
    assert [d.text for d in found] == ["T\n\nlast", "T\n\nother"]
    assert len({d.id for d in found}) == 2
    assert "2 older versions" in caplog.text
    item = "<item><title>T</title><guid>a</guid><description>{}</description></item>"
    items = item.format("new") + item.format("old")
    site.pages["/undated"] = Reply(f'<rss version="2.0"><channel><title>x</title>{items}</channel></rss>')
    assert [d.text for d in read(site, "/undated")] == ["T\n\nnew"]  # a feed begins with what is newest


def test_an_id_that_is_no_address_is_no_source(site: Site) -> None:
    items = (
        "<item><title>a</title><guid>g2</guid></item>"
        "<item><title>b</title><guid>https://ward.example/b</guid></item>"
        "<item><title>c</title><guid>g3</guid><link>/c</link></item>"
    )
    site.pages["/rss"] = Reply(f'<rss version="2.0"><channel><title>x</title>{items}</channel></rss>')
    assert [d.source for d in read(site, "/rss")] == [f"{site.base}/rss", "https://ward.example/b", f"{site.base}/c"]
    entries = (
        "<entry><title>a</title><id>e1</id></entry>"
        '<entry><title>b</title><id>e2</id><link rel="enclosure" href="https://ward.example/b.mp3"/></entry>'
        '<entry><title>c</title><id>e3</id><link href="c"/></entry>'
    )
    site.pages["/in/atom"] = Reply(f'<feed xmlns="http://www.w3.org/2005/Atom"><title>W</title>{entries}</feed>')
    feed = f"{site.base}/in/atom"
    assert [d.source for d in read(site, "/in/atom")] == [feed, feed, f"{site.base}/in/c"]


def feed_of(*items: str) -> Reply:
    return Reply(
        f"<rss version='2.0'><channel><title>F</title>{''.join(f'<item>{i}</item>' for i in items)}</channel></rss>"
    )


@pytest.mark.parametrize(
    ("written", "day"),
    [
        ("Mon, 04 Mar 2024 23:30:00 EST", "2024-03-05"),
        ("2024-03-04 10:00:00.123 +0100", "2024-03-04"),
        ("20240304", "2024-03-04"),
        ("1709542800", None),
        ("2024", None),
        ("2024-03", None),
        ("2024年03月04日 10:00", None),
        ("9999-99-99", None),
        ("Mon, 31 Feb 2024 10:00:00 GMT", None),
    ],
)
def test_a_day_is_never_made_up(site: Site, written: str, day: str | None) -> None:
    site.pages["/f"] = feed_of(f"<title>T</title><pubDate>{written}</pubDate>")
    assert [document.date for document in read(site, "/f")] == [day]


def test_links_are_relative_to_where_redirects_end(site: Site) -> None:
    site.pages["/old"] = Reply(status=301, headers={"Location": "/blog/feed.xml"})
    site.pages["/blog/feed.xml"] = feed_of("<title>T</title><link>story/1</link>", "<title>U</title><guid>x</guid>")
    wanted = [f"{site.base}/blog/story/1", f"{site.base}/blog/feed.xml"]
    assert [document.source for document in read(site, "/old")] == wanted
    assert [document.source for document in read(site, "/old", offline=True)] == wanted


def test_half_a_character_does_not_end_a_feed(site: Site) -> None:
    site.pages["/f"] = feed_of("<title>up &#xD83D;&#xDE00; 5 &#37; &#55357; &#1114112;</title>", "<title>next</title>")
    assert [document.text for document in read(site, "/f")] == ["up 5 %", "next"]


def test_control_characters_are_no_text(site: Site) -> None:
    site.pages["/f"] = feed_of("<title>a\0b</title><description>c\x01d</description>")
    assert [document.text for document in read(site, "/f")] == ["ab\n\ncd"]


def test_an_address_with_other_letters_is_told_how_to_be_written() -> None:
    with pytest.raises(MetierError, match=r"beyond ASCII[\s\S]*%C3%BC"):
        list(read_documents("rss:https://example.org/für.xml"))
