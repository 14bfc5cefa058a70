"""Drawings: whole XML, whatever a name holds; values where they belong."""

from __future__ import annotations

from xml.etree import ElementTree

from selfheal.svg import picture, scale, tag, words

SVG = "{http://www.w3.org/2000/svg}"


def test_names_from_data_stay_text() -> None:
    name = """a <b> & "c" 'd'"""
    drawn = ElementTree.fromstring(picture([words(name, 1, 2), tag("circle", class_=name)], 10, 20, name))
    assert [e.text for e in drawn.iter(f"{SVG}title")] == [e.text for e in drawn.iter(f"{SVG}text")] == [name]
    assert [e.get("class") for e in drawn.iter(f"{SVG}circle")] == [name]
    assert (drawn.get("aria-label"), drawn.get("viewBox")) == (name, "0 0 10 20")


def test_values_are_drawn_within_the_edges() -> None:
    assert [scale(v, 10, 20, 100, 0) for v in (10, 15, 20, -99, 99)] == [100, 50, 0, 100, 0]
