"""XMP packets: keywords are read and replaced, and everything else means the same as before."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from clipcli.output.filing.deltas import Delta
from clipcli.output.filing.keywords import Keywords, added, clean, merged, stars
from clipcli.output.filing.xmp import NotXmp, keywords_in, with_keywords

CAT = Keywords(("cat",), ("animal|cat",), "4")
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"

DARKTABLE = """<?xml version="1.0" encoding="UTF-8"?>
<!-- written by a photo program -->
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 4.4.0-Exiv2">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:darktable="http://darktable.sf.net/"
   xmp:Rating="1"
   darktable:history_end="2">
   <darktable:history>
    <rdf:Seq>
     <rdf:li darktable:num="0" darktable:params="gz03eJ&#38;x"/>
     <!-- a comment -->
    </rdf:Seq>
   </darktable:history>
   <dc:subject>
    <rdf:Seq>
     <rdf:li>holiday</rdf:li>
     <rdf:li>dog</rdf:li>
    </rdf:Seq>
   </dc:subject>
   <dc:title><rdf:Alt><rdf:li xml:lang="x-default"><![CDATA[a < b]]> &amp; ü</rdf:li></rdf:Alt></dc:title>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""


def canonical(packet: bytes) -> str:
    """What a packet means, whatever its layout is: canonical XML without space between elements."""
    root = etree.fromstring(packet, etree.XMLParser(remove_blank_text=True))
    return str(etree.canonicalize(etree.tostring(root, encoding="unicode"), strip_text=True))


def test_a_new_packet_is_a_whole_one() -> None:
    packet = with_keywords(b"", CAT)
    assert packet.decode().splitlines()[0] == '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    assert packet.endswith(b'<?xpacket end="w"?>')
    assert keywords_in(packet) == CAT
    lines = packet.decode().splitlines()
    assert "    <rdf:Bag>" in lines
    assert "     <rdf:li>cat</rdf:li>" in lines


def test_all_else_in_a_packet_stays() -> None:
    before = DARKTABLE.encode()
    assert keywords_in(before) == Keywords(("holiday", "dog"), (), "1")
    packet = with_keywords(before, Keywords(("holiday", "cat"), ("animal|cat",), "1"))
    assert keywords_in(packet) == Keywords(("holiday", "cat"), ("animal|cat",), "1")
    text = packet.decode()
    assert text.startswith(
        '<?xml version="1.0" encoding="UTF-8"?>\n<!-- written by a photo program -->\n<x:xmpmeta'
    )
    for kept in ("<!-- a comment -->", "<![CDATA[a < b]]> &amp; ü", 'darktable:params="gz03eJ&amp;x"'):
        assert kept in text
    assert canonical(with_keywords(packet, keywords_in(before))) == canonical(before)
    assert [line for line in text.splitlines() if "rdf:li>" in line][:2] == [
        "     <rdf:li>holiday</rdf:li>",
        "     <rdf:li>cat</rdf:li>",
    ]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "iso-8859-1"])
def test_other_encodings_are_kept(encoding: str) -> None:
    name = {"utf-16": "UTF-16", "iso-8859-1": "ISO-8859-1"}.get(encoding, "UTF-8")
    before = DARKTABLE.replace("UTF-8", name).encode(encoding)
    packet = with_keywords(before, Keywords(("holiday", "dog", "日本"), (), "1"))
    assert packet.decode(encoding).startswith(f'<?xml version="1.0" encoding="{name}"?>')
    assert keywords_in(packet).subjects == ("holiday", "dog", "日本")
    assert canonical(with_keywords(packet, keywords_in(before))) == canonical(before)


@pytest.mark.parametrize("rating", ['xmp:Rating="2"', ""])
def test_a_rating_is_an_attribute_or_an_element(rating: str) -> None:
    element = "" if rating else "<xmp:Rating>2</xmp:Rating>"
    before = (
        f'<rdf:RDF xmlns:rdf="{RDF}" xmlns:xmp="http://ns.adobe.com/xap/1.0/">'
        f'<rdf:Description rdf:about="" {rating}>{element}</rdf:Description></rdf:RDF>'
    ).encode()
    assert keywords_in(before).rating == "2"
    assert keywords_in(with_keywords(before, Keywords(rating="5"))).rating == "5"
    assert b"Rating" not in with_keywords(before, Keywords())


def test_properties_may_be_spread_over_descriptions() -> None:
    before = (
        f'<rdf:RDF xmlns:rdf="{RDF}"><rdf:Description rdf:about=""/><rdf:Description rdf:about=""'
        ' xmlns:d="http://purl.org/dc/elements/1.1/"><d:subject><rdf:Bag><rdf:li>a</rdf:li></rdf:Bag></d:subject>'
        "</rdf:Description></rdf:RDF>"
    ).encode()
    packet = with_keywords(before, Keywords(("a", "b"), ("x|a",)))
    assert keywords_in(packet) == Keywords(("a", "b"), ("x|a",))
    assert packet.count(b"subject>") == 2


def test_a_packet_without_a_description_gets_one() -> None:
    packet = with_keywords(f'<rdf:RDF xmlns:rdf="{RDF}"/>'.encode(), CAT)
    assert keywords_in(packet) == CAT
    assert b'rdf:about=""' in packet


BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'
OUTSIDE = b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize("attack", [BOMB, OUTSIDE, b"<!DOCTYPE x>"])
def test_a_packet_that_declares_entities_is_refused(attack: bytes) -> None:
    body = f'<rdf:RDF xmlns:rdf="{RDF}"><rdf:Description xmlns:d="http://purl.org/dc/elements/1.1/">'.encode()
    body += b"<d:subject><rdf:Bag><rdf:li>&a;</rdf:li></rdf:Bag></d:subject></rdf:Description></rdf:RDF>"
    body = body.replace(b"&a;", b"a") if b"ENTITY" not in attack else body
    with pytest.raises(NotXmp, match="document type"):
        keywords_in(attack + body)


@pytest.mark.parametrize(
    ("packet", "message"),
    [
        (b"not XML at all", "not XMP"),
        (DARKTABLE.encode()[:600], "not XMP"),
        (b"<html/>", "holds no RDF"),
        (
            DARKTABLE.replace("<rdf:Seq>\n     <rdf:li>holiday", "<rdf:X>\n     <rdf:li>holiday").encode(),
            "not XMP",
        ),
        (DARKTABLE.replace("xmp:Rating", "dc:subject").encode(), "dc:subject is not a list"),
    ],
)
def test_what_is_not_understood_is_refused(packet: bytes, message: str) -> None:
    with pytest.raises(NotXmp, match=message):
        with_keywords(packet, CAT)


def test_a_keyword_that_is_no_list_is_not_overwritten() -> None:
    packet = (
        f'<rdf:RDF xmlns:rdf="{RDF}"><rdf:Description xmlns:d="http://purl.org/dc/elements/1.1/">'
        "<d:subject>alone</d:subject></rdf:Description></rdf:RDF>"
    ).encode()
    with pytest.raises(NotXmp, match="dc:subject is not a list"):
        with_keywords(packet, CAT)


TEXTS = st.lists(st.text(min_size=1, max_size=8).map(clean).filter(bool), unique=True, max_size=4).map(tuple)
KEYWORDS = st.builds(Keywords, TEXTS, TEXTS, st.sampled_from(["", "1", "5"]))


@given(KEYWORDS, KEYWORDS, st.booleans())
def test_any_keywords_come_back(first: Keywords, second: Keywords, is_new: bool) -> None:
    packet = with_keywords(b"" if is_new else DARKTABLE.encode(), first)
    assert keywords_in(packet) == first or set(keywords_in(packet).subjects) == set(first.subjects)
    again = with_keywords(packet, second)
    assert sorted(keywords_in(again).subjects) == sorted(second.subjects)
    assert sorted(keywords_in(again).paths) == sorted(second.paths)
    assert keywords_in(again).rating == second.rating


# --- What becomes of keywords --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("present", "ours", "new", "result", "then_ours"),
    [
        ((), (), ("cat",), ("cat",), ("cat",)),
        (("holiday",), (), ("cat",), ("holiday", "cat"), ("cat",)),
        (("holiday", "cat"), ("cat",), ("dog",), ("holiday", "dog"), ("dog",)),
        (("cat",), (), ("cat",), ("cat",), ()),  # the user's own stays the user's
        (("cat",), (), ("dog",), ("cat", "dog"), ("dog",)),
        (("cat",), ("cat",), ("cat",), ("cat",), ("cat",)),
        (("cat", "x"), ("cat",), (), ("x",), ()),  # unknown by now
        (("x",), ("cat",), ("dog",), ("x", "dog"), ("dog",)),  # the user has removed ours
    ],
)
def test_keywords_of_an_earlier_run_are_replaced_and_others_stay(
    present: Any, ours: Any, new: Any, result: Any, then_ours: Any
) -> None:
    for place in range(2):
        before, added_before, wanted = (Keywords(*([(), ()][:place]), one) for one in (present, ours, new))
        after = merged(before, added_before, wanted)
        assert after[place] == result
        assert added(before, added_before, after)[place] == then_ours


@pytest.mark.parametrize(
    ("present", "ours", "new", "result", "then_ours"),
    [
        ("", "", "4", "4", "4"),
        ("0", "", "4", "4", "4"),
        ("2", "", "4", "2", ""),  # the user's own
        ("-1", "", "4", "-1", ""),
        ("3", "3", "4", "4", "4"),
        ("5", "3", "4", "5", ""),  # the user has changed ours
        ("3", "3", "", "", ""),
        ("0", "", "", "0", ""),
        ("3", "3", "3", "3", "3"),
    ],
)
def test_a_rating_of_the_user_stays(present: str, ours: str, new: str, result: str, then_ours: str) -> None:
    before, earlier = Keywords(rating=present), Keywords(rating=ours)
    after = merged(before, earlier, Keywords(rating=new))
    assert (after.rating, added(before, earlier, after).rating) == (result, then_ours)


def test_scores_as_stars() -> None:
    scores = [-1.0, 0.0, 0.19, 0.2, 0.5, 0.79, 0.8, 1.0, 7.0]
    assert [stars(score) for score in scores] == ["1", "1", "1", "2", "3", "4", "5", "5", "5"]


def test_keywords_have_no_line_breaks_and_nothing_that_xml_lacks() -> None:
    assert clean(" a\n-all=\r\nb\x00\ud83d\x85c ") == "a -all= b c"
    assert clean("👩\u200d👧 日本") == "👩\u200d👧 日本"


# --- Deltas --------------------------------------------------------------------------------------


@given(st.binary(max_size=60), st.binary(max_size=60), st.binary(max_size=60), st.binary(max_size=60))
def test_the_former_content_comes_back_from_a_delta(start: bytes, old: bytes, new: bytes, end: bytes) -> None:
    former, content = start + old + end, start + new + end
    delta = Delta.between(former, content)
    assert len(delta.middle) <= len(old)
    assert Delta.of(delta.as_record()).former(content) == former
