"""The screen that is rebuilt from what a terminal is told."""

from __future__ import annotations

from benchmarks.terminal import Screen


def test_words_are_found_though_they_were_drawn_in_pieces() -> None:
    screen = Screen(3, 20)
    screen.feed("\x1b[?2026h\x1b[2;3H\x1b[1;38;5;16mReady\x1b[0m to\x1b[2;12Hstart\r\n\x1b[1mnext\x1b[0m\x1b[H!")
    assert screen.text == "!\n  Ready to start\nnext"


def test_a_sequence_that_is_cut_waits_for_its_end() -> None:
    screen = Screen(2, 10)
    for part in ("a\x1b[2", ";4", "Hb\x1b", "[38;5;78", "mc\x1b]0;ti", "tle\x07d"):
        screen.feed(part)
    assert screen.text == "a\n   bcd"


def test_what_was_drawn_before_is_drawn_over_and_the_edge_holds() -> None:
    screen = Screen(1, 5)
    screen.feed("abcdefgh\x1b[1;2Hxy\x1b[9;9Hz")
    assert screen.text == "axyde"
