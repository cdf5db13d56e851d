"""XMP packets, as in sidecars: read the keywords, and replace them, with everything else left as it is.

The model is part 1 of the XMP specification (ISO 16684-1): properties are elements or attributes of
`rdf:Description` in `rdf:RDF`, and a list of keywords is an `rdf:Bag`.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Any, cast

from lxml import etree

from clipcli.output.filing.keywords import Keywords
from clipcli.version import __version__

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_NAMESPACES = {
    "dc": "http://purl.org/dc/elements/1.1/",
    "lr": "http://ns.adobe.com/lightroom/1.0/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
}
_SUBJECT, _PATHS, _RATING = ("dc", "subject"), ("lr", "hierarchicalSubject"), ("xmp", "Rating")
_LISTS = tuple(f"{{{_RDF}}}{name}" for name in ("Bag", "Seq", "Alt"))
_ITEM, _DESCRIPTION = f"{{{_RDF}}}li", f"{{{_RDF}}}Description"
_EMPTY = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="clipcli {__version__}">
 <rdf:RDF xmlns:rdf="{_RDF}">
  <rdf:Description rdf:about=""/>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>""".encode()


class NotXmp(ValueError):
    """What cannot be read as XMP, or holds keywords in a form that is not understood."""


def keywords_in(packet: bytes) -> Keywords:
    """The keywords of a packet; none of an empty one.

    Raises:
        NotXmp: it cannot be read.
    """
    return _Packet(packet).keywords() if packet.strip() else Keywords()


def with_keywords(packet: bytes, keywords: Keywords) -> bytes:
    """A packet with these keywords in place of its own; an empty one is made anew.

    Raises:
        NotXmp: it cannot be read.
    """
    parsed = _Packet(packet if packet.strip() else _EMPTY)
    parsed.set_list(*_SUBJECT, keywords.subjects)
    parsed.set_list(*_PATHS, keywords.paths)
    parsed.set_text(*_RATING, keywords.rating)
    return parsed.content()


class _Packet:
    def __init__(self, packet: bytes) -> None:
        # no entity is expanded and nothing is loaded: a sidecar may come from anywhere
        parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, strip_cdata=False)
        try:
            root = etree.fromstring(packet, parser)
        except (etree.XMLSyntaxError, ValueError) as error:
            raise NotXmp(f"not XMP: {error}") from None
        self._root, self._about = root, cast(Any, root.getroottree().docinfo)
        self._had_mark = packet.startswith(codecs.BOM_UTF8)
        self._declared = "<?xml " in packet[:64].decode(self._encoding, "ignore")
        if self._about.doctype or self._about.internalDTD is not None:
            raise NotXmp("it declares a document type, which no XMP has")
        rdf = root if root.tag == f"{{{_RDF}}}RDF" else root.find(f"{{{_RDF}}}RDF")
        if rdf is None:
            raise NotXmp("not XMP: it holds no RDF")
        self._rdf: Any = rdf

    @property
    def _encoding(self) -> str:
        return str(self._about.encoding or "UTF-8")

    def content(self) -> bytes:
        """The packet, in the encoding that it had; what stands around the root gets a line each."""
        before = [*self._root.itersiblings(preceding=True)][::-1]
        nodes = [*before, self._root, *self._root.itersiblings()]
        lines = [etree.tostring(node, encoding="unicode", with_tail=False) for node in nodes]
        if self._declared:
            lines.insert(0, f'<?xml version="1.0" encoding="{self._encoding}"?>')
        content = "\n".join(map(str, lines)).encode(self._encoding, "xmlcharrefreplace")
        return codecs.BOM_UTF8 + content if self._had_mark else content

    def keywords(self) -> Keywords:
        """Its keywords."""
        return Keywords(self._items(*_SUBJECT), self._items(*_PATHS), self._text(*_RATING))

    # --- Properties ------------------------------------------------------------------------------

    def _descriptions(self) -> list[Any]:
        return list(self._rdf.findall(_DESCRIPTION))

    def _element(self, prefix: str, name: str) -> Any:
        tag = f"{{{_NAMESPACES[prefix]}}}{name}"
        found = (one.find(tag) for one in self._descriptions())
        return next((one for one in found if one is not None), None)

    def _owner(self, prefix: str, name: str) -> tuple[Any, str]:
        """The description that has a property as an attribute, or None, and the attribute's name."""
        tag = f"{{{_NAMESPACES[prefix]}}}{name}"
        return next((one for one in self._descriptions() if tag in one.attrib), None), tag

    def _list(self, prefix: str, name: str) -> Any:
        """The list of a property, or None without one.

        Raises:
            NotXmp: the property has a value that is no list.
        """
        element = self._element(prefix, name)
        if self._owner(prefix, name)[0] is not None:
            raise NotXmp(f"its {prefix}:{name} is not a list")
        if element is None:
            return None
        lists = [one for one in element if one.tag in _LISTS]
        if not lists and ((element.text or "").strip() or len(element) or element.attrib):
            raise NotXmp(f"its {prefix}:{name} is not a list")
        return lists[0] if lists else None

    def _items(self, prefix: str, name: str) -> tuple[str, ...]:
        found = self._list(prefix, name)
        return () if found is None else tuple(_text_of(item) for item in found.findall(_ITEM))

    def _text(self, prefix: str, name: str) -> str:
        owner, tag = self._owner(prefix, name)
        if owner is not None:
            return str(owner.get(tag)).strip()
        element = self._element(prefix, name)
        return "" if element is None else _text_of(element)

    # --- Changes ---------------------------------------------------------------------------------

    def set_list(self, prefix: str, name: str, texts: Sequence[str]) -> None:
        """Replace the items of a list, of which those that stay are left as they are."""
        found = self._list(prefix, name)
        for item in [] if found is None else found.findall(_ITEM):
            if _text_of(item) not in texts:
                _remove(item)
        present = self._items(prefix, name)
        if found is not None and not texts:
            _remove(self._element(prefix, name))
        for text in [one for one in texts if one not in present]:
            if found is None:
                found = _append(self._made(prefix, name), _LISTS[0], {})
            _append(found, _ITEM, {}).text = text

    def set_text(self, prefix: str, name: str, text: str) -> None:
        """Replace a simple property; an empty text removes it."""
        owner, tag = self._owner(prefix, name)
        element = self._element(prefix, name)
        if text == self._text(prefix, name):
            return
        if owner is not None and text:
            owner.set(tag, text)
        elif owner is not None:
            del owner.attrib[tag]
        elif text:
            (self._made(prefix, name) if element is None else element).text = text
        else:
            _remove(element)

    def _made(self, prefix: str, name: str) -> Any:
        """The element of a property, new if there is none."""
        element = self._element(prefix, name)
        if element is not None:
            return element
        described = self._descriptions()
        owner = described[0] if described else _append(self._rdf, _DESCRIPTION, {})
        if not described:
            owner.set(f"{{{_RDF}}}about", "")
        return _append(owner, f"{{{_NAMESPACES[prefix]}}}{name}", {prefix: _NAMESPACES[prefix]})


def _text_of(element: Any) -> str:
    return str(element.xpath("string()")).strip()


def _append(parent: Any, tag: str, namespaces: dict[str, str]) -> Any:
    """A new last child, indented as the others are."""
    depth = len(list(parent.iterancestors())) + 1
    if len(parent):
        before = parent.text or ""
        last = parent[-1]
        end, last.tail = last.tail, before
    else:
        before, end = f"\n{' ' * depth}", f"\n{' ' * (depth - 1)}"
        parent.text = before
    element = etree.SubElement(parent, tag, nsmap=namespaces or None)
    element.tail = end
    return element


def _remove(element: Any) -> None:
    """Remove an element, and the space before it."""
    parent, previous = element.getparent(), element.getprevious()
    if previous is not None:
        previous.tail = element.tail
    elif element.getnext() is None:
        parent.text = None
    parent.remove(element)
