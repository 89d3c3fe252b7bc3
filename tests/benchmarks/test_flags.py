"""What the benchmarks over the zoo have in common."""

from __future__ import annotations

from benchmarks.flags import choose, zoo_parser

MODELS = [{"name": name, "split": split} for name, split in (("r20_a", "held_out"), ("r20_b", "calibration"), ("vgg_a", "held_out"))]


def test_defaults_and_lists() -> None:
    args = zoo_parser("wish", "What is wished for.", images="50").parse_args(["--seeds", "1,2"])

    assert (args.images, args.seeds, args.split, args.out.name) == ([50], [1, 2], "held_out", "wish.jsonl")
    assert not (args.dozen or args.again or args.show)


def test_models_are_chosen_by_split_and_by_a_part_of_their_name_or_a_pattern() -> None:
    def names(split: str, only: str | None) -> list[str]:
        return [m["name"] for m in choose(MODELS, split, only, False)]

    assert names("held_out", None) == ["r20_a", "vgg_a"]
    assert names("held_out", "r20") == ["r20_a"]
    assert names("held_out", "vgg_?") == ["vgg_a"]
    assert names("calibration", "vgg") == []
