import numpy as np
import pytest
from PIL import Image

from proxy_attention.data.decoding import open_image
from proxy_attention.data.regions import box_region, trimap_region
from proxy_attention.errors import DataError


@pytest.fixture
def image(tmp_path):
    """An image of 8 x 6 pixels, as it is stored."""
    Image.new("RGB", (8, 6)).save(tmp_path / "image.jpg")
    return tmp_path / "image.jpg"


def turn(path, orientation):
    """Let an image be shown turned; returns it as it is shown, with its first pixel white."""
    stored = Image.new("L", (8, 6))
    stored.putpixel((0, 0), 255)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(path, "PNG", exif=exif)
    return np.asarray(open_image(path.read_bytes()))[..., 0] > 0


def test_a_box_is_the_region_inside_it(image):
    region = box_region(image, (2.0, 1.0, 3.0, 4.0))

    expected = np.zeros((6, 8), dtype=bool)
    expected[1:5, 2:5] = True
    np.testing.assert_array_equal(region, expected)


def test_a_box_is_cut_to_its_image_and_counts_every_pixel_it_touches(image):
    region = box_region(image, (-3.0, 4.5, 4.2, 20.0))

    assert region[4:, :2].all()
    assert region.sum() == 2 * 2


@pytest.mark.parametrize("box", [(8, 0, 5, 5), (-5, 0, 5, 5), (0, 6, 1, 1), (1, 1, 0, 2)])
def test_a_box_outside_its_image_or_without_a_pixel_is_refused(box, image):
    with pytest.raises(DataError, match=r"^a bounding box must lie in its image of 8 x 6; image.jpg has \("):
        box_region(image, box)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_region_is_turned_as_its_image_is_shown(orientation, image):
    shown = turn(image, orientation)

    np.testing.assert_array_equal(box_region(image, (0.0, 0.0, 1.0, 1.0)), shown)


def test_a_box_needs_no_more_of_the_image_than_its_header(image):
    image.write_bytes(image.read_bytes()[:-4])

    assert box_region(image, (0.0, 0.0, 8.0, 6.0)).all()


def test_an_image_without_a_readable_header_is_named(image):
    image.write_bytes(b"no image")

    with pytest.raises(DataError, match=r"an image must be readable to tell its size; .*image.jpg' is not"):
        box_region(image, (0.0, 0.0, 1.0, 1.0))


@pytest.fixture
def trimap(tmp_path):
    """The object in the first column, its border in the second, background in the others."""
    values = np.full((6, 8), 2, dtype=np.uint8)
    values[:, 0], values[:, 1] = 1, 3
    Image.fromarray(values).save(tmp_path / "trimap.png")
    return tmp_path / "trimap.png"


def test_the_object_and_its_border_are_the_region_of_a_trimap(trimap, image):
    region = trimap_region(trimap, image)

    assert region.shape == (6, 8)
    assert region[:, :2].all()
    assert not region[:, 2:].any()


def test_a_trimap_is_turned_as_its_image_is_shown(trimap, image):
    turn(image, 3)

    assert trimap_region(trimap, image)[:, -2:].all()


def test_an_image_without_a_trimap_has_no_region(image, tmp_path):
    assert trimap_region(tmp_path / "none.png", image) is None


def test_a_trimap_of_another_size_or_one_that_is_no_image_is_named(trimap, image):
    Image.new("L", (6, 8)).save(trimap)
    with pytest.raises(DataError, match=r"a trimap must be of its image's size, 8 x 6; .*trimap.png' is not"):
        trimap_region(trimap, image)
    trimap.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"a trimap must be readable; .*trimap.png' is not"):
        trimap_region(trimap, image)
