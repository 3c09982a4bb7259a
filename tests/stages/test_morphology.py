"""Growing and hulling small shapes drawn by hand (random ones are compared with scipy in test_augment)."""

from __future__ import annotations

import numpy as np

from stages.morphology import Growth, convex_hull, grow, tight_box


def drawn(*rows: str) -> np.ndarray:
    return np.array([[sign == "#" for sign in row] for row in rows])


def test_tight_box_ends_after_the_last_pixel() -> None:
    assert tight_box(drawn("....", ".##.", ".#..", "....")) == (1, 1, 3, 3)
    assert tight_box(drawn("#..", "...", "..#")) == (0, 0, 3, 3)
    assert tight_box(np.zeros((4, 5), np.bool_)) is None
    # A view with gaps in memory is taken as it looks.
    assert tight_box(np.pad(drawn("##"), 3)[:, ::2]) == (2, 3, 3, 4)


def test_a_pixel_grows_into_the_oval() -> None:
    np.testing.assert_array_equal(
        grow(drawn("#"), Growth(2, 2, 2, 2)), drawn("..#..", ".###.", "#####", ".###.", "..#..")
    )


def test_each_side_grows_by_its_own_number() -> None:
    np.testing.assert_array_equal(grow(drawn("#"), Growth(3, 0, 1, 0)), drawn("#####"))
    np.testing.assert_array_equal(
        grow(drawn("#"), Growth(left=1, top=2, right=0, bottom=1)), drawn(".#", ".#", "##", ".#")
    )
    np.testing.assert_array_equal(grow(drawn("#.#"), Growth(0, 0, 0, 0)), drawn("#.#"))


def test_growing_fills_gaps_and_keeps_an_empty_mask_empty() -> None:
    np.testing.assert_array_equal(grow(drawn("#..#"), Growth(1, 0, 1, 0)), drawn("######"))
    empty = grow(np.zeros((2, 3), np.bool_), Growth(1, 2, 3, 4))
    assert empty.shape == (8, 7)
    assert not empty.any()


def test_growing_works_across_strips_of_rows() -> None:
    tall = np.zeros((100, 3), np.bool_)
    tall[[0, 31, 32, 64, 99], 1] = True
    grown = grow(tall, Growth(0, 1, 0, 1))
    assert np.flatnonzero(grown[:, 1]).tolist() == [0, 1, 2, 31, 32, 33, 34, 64, 65, 66, 99, 100, 101]
    assert not grown[:, [0, 2]].any()


def test_a_hull_joins_what_is_apart() -> None:
    np.testing.assert_array_equal(convex_hull(drawn("#...#", ".....", "..#..")), drawn("#####", ".###.", "..#.."))
    np.testing.assert_array_equal(convex_hull(drawn("#..", "...", "..#")), drawn("#..", ".#.", "..#"))
    np.testing.assert_array_equal(convex_hull(drawn("#.#.#")), drawn("#####"))
    np.testing.assert_array_equal(convex_hull(drawn(".", "#", ".")), drawn(".", "#", "."))
    assert not convex_hull(np.zeros((3, 4), np.bool_)).any()


def test_a_grown_hull_is_the_hull_of_the_grown_mask() -> None:
    shape, growth = drawn("#....", ".....", "....#"), Growth(2, 1, 0, 3)
    np.testing.assert_array_equal(convex_hull(shape, growth), convex_hull(grow(shape, growth)))
    assert convex_hull(shape, growth).shape == (3 + 1 + 3, 5 + 2 + 0)
