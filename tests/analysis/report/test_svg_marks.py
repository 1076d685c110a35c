"""The marks of an SVG chart."""

from xml.etree import ElementTree

from orchestrator.analysis.report.styles import MARKERS
from orchestrator.analysis.report.svg_marks import marker, path, text, text_width


def test_every_marker_has_a_shape_of_its_own_and_its_tip() -> None:
    shapes = [marker(name, 10.0, 10.0, 4.0, "#123456", "a < b") for name in MARKERS]
    assert len(set(shapes)) == len(MARKERS)
    for shape in shapes:
        element = ElementTree.fromstring(shape)
        assert element.attrib["fill"] == "#123456"
        assert [title.text for title in element.iter("title")] == ["a < b"]


def test_path_has_its_points_and_dashes() -> None:
    element = ElementTree.fromstring(path([(1.0, 2.0), (3.25, 4.0)], "line", stroke="#fff", dashes=(5, 2)))
    assert element.attrib == {
        "class": "line",
        "points": "1.0,2.0 3.2,4.0",
        "stroke": "#fff",
        "stroke-dasharray": "10 4",
    }
    assert ElementTree.fromstring(path([(0, 0)], "band", closed=True)).tag == "polygon"


def test_text_is_escaped_and_longer_text_is_wider() -> None:
    assert ElementTree.fromstring(text(1.0, 2.0, "<b> & c", "label", "start")).text == "<b> & c"
    assert text_width("four") < text_width("a longer label")
