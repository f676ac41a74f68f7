from study.reporting.inline_image import InlineImage


def test_an_image_stands_in_its_own_address():
    assert InlineImage.of(b"abc", "three bytes", "png") == InlineImage("data:image/png;base64,YWJj", "three bytes")


def test_an_image_is_svg_unless_another_kind_is_given():
    assert InlineImage.of(b"<svg/>", "nothing").source == "data:image/svg+xml;base64,PHN2Zy8+"
