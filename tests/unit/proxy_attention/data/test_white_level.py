import numpy as np
import pytest

from proxy_attention.data.white_level import AmbiguousValuesError, ValueRange, WhiteLevel, find_white_level


def found(**images):
    return find_white_level([(name, ValueRange.of(np.asarray(values))) for name, values in images.items()])


def ramp(highest, kind, count=2000):
    return np.linspace(0, highest, count).astype(kind)


@pytest.mark.parametrize(
    ("highest", "kind", "white"),
    [
        (250, np.int32, 255),
        (255, np.uint16, 255),
        (700, np.uint16, 1023),
        (4095, np.uint16, 4095),
        (4000, np.int32, 4095),
        (16000, np.uint16, 16383),
        (20000, np.uint16, 65535),
        (65535, np.uint16, 65535),
        (0.4, np.float32, 1),
        (1.0, np.float32, 1),
        (200.0, np.float32, 255),
        (65535.0, np.float32, 65535),
    ],
)
def test_white_is_the_usual_value_that_holds_all(highest, kind, white):
    assert found(a=ramp(highest, kind), b=ramp(highest / 2, kind)) == WhiteLevel(white, 2, pytest.approx(highest), ())


@pytest.mark.parametrize(
    ("outlier", "kind", "white"), [(1.001, np.float32, 1), (1.09, np.float32, 1), (256, np.int32, 255)]
)
def test_few_pixels_a_little_above_white_are_what_resampling_adds(outlier, kind, white):
    values = ramp(white, kind)
    values[7] = outlier

    assert found(a=values, b=ramp(white, kind)).value == white


def test_the_scale_is_that_of_all_images_together_in_any_order():
    parts = {"a": ramp(90, np.uint16), "b": ramp(4000, np.uint16), "c": ramp(300, np.uint16)}

    assert found(**parts).value == found(**dict(reversed(parts.items()))).value == 4095


@pytest.mark.parametrize(
    ("images", "told"),
    [
        ({"hot": np.append(ramp(200, np.int32), 9000)}, r"1 of 2,001 pixels, in hot, lie above 255 and reach 9,000"),
        ({"hdr": ramp(1.5, np.float32)}, r"they reach 1\.5 in hdr"),
        ({"unit": ramp(1, np.float32), "bytes": ramp(255, np.float32)}, r"they reach 255, but at most 1 in unit"),
        (
            {"whole": ramp(4095, np.uint16), "unit": ramp(1, np.float32)},
            r"one scale; whole numbers \(whole\) reach 4095",
        ),
        ({"signed": ramp(2, np.float32) - 1}, r"pixels, in signed, lie below and reach -1"),
        ({"signed": np.append(ramp(200, np.int32), -90)}, "1 of 2,001 pixels, in signed, lie below"),
        ({"deep": ramp(2**30, np.int32)}, r"reach at most 65,535; whole numbers in deep reach 1,073,741,824"),
        ({f"{n}": ramp(1.5, np.float32) - 1 for n in range(5)}, "in 0, 1, 2 and 2 more, lie below"),
    ],
)
def test_values_that_do_not_tell_are_refused_with_their_images_and_the_field_that_tells(images, told):
    with pytest.raises(AmbiguousValuesError, match=told) as refused:
        found(**images)

    assert str(refused.value).endswith("; set white_level to the value that is white")
    assert "\n" not in str(refused.value)
    assert refused.value.highest == max(values.max() for values in images.values())


def test_images_that_come_out_flat_are_named_but_not_those_of_one_value():
    dark = {"dark": ramp(3000, np.uint16), "plain": np.full(9, 3, np.uint16), "full": ramp(65535, np.uint16)}

    assert found(**dark).flat == ("dark",)
    assert found(a=ramp(65535, np.uint16), b=ramp(5000, np.uint16)).flat == ()


def test_where_no_image_needs_a_white_there_is_one_of_none():
    assert find_white_level([]).images == 0


def test_it_is_told_with_its_bits():
    assert [str(WhiteLevel(value, 1, 1.0)) for value in (1.0, 4095.0)] == ["1", "4095 (12 bits)"]
