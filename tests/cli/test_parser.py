from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from inverseflow.cli.parser import Parser, option_words
from inverseflow.errors import UsageError


@dataclass(frozen=True)
class Inner:
    """Things inside.

    Args:
        name: which one.
        big_size: how big, 100% at most.
    """

    name: str = "plain"
    big_size: int | None = 3


@dataclass(frozen=True)
class Options:
    """All things.

    Args:
        place: where to.
        kind: of which
            kind.
        share: how much.
        loud: make noise.
        inner: the inner things.
    """

    place: Path
    kind: Literal["red", "blue", 3] = "red"
    share: float = 0.5
    loud: bool = False
    inner: Inner = field(default_factory=Inner)


@pytest.fixture
def parser() -> Parser:
    parser = Parser("program", "Do it.", preset=lambda given: {"share": 0.75} if given else {})
    parser.add_signature(Options, {"share": "s"})
    parser.add_help_and_debug()
    return parser


def test_only_what_was_given_is_returned_nested_by_its_dots(parser):
    assert parser.parse(["here"]) == {"place": Path("here")}
    assert parser.parse(["here", "--inner.big-size", "4", "--kind=3", "--loud"]) == {
        "place": Path("here"),
        "inner": {"big_size": 4},
        "kind": 3,
        "loud": True,
    }


def test_words_may_be_written_in_several_ways(parser):
    for words in (["--inner.big_size=4"], ["--inner.big-size", "4"]):
        assert parser.parse(["here", *words])["inner"] == {"big_size": 4}
    assert parser.parse(["--inner", "round", "here"])["inner"] == {"name": "round"}
    assert parser.parse(["-s", "1e-3", "here"])["share"] == 1e-3
    assert parser.parse(["here", "--no-loud"])["loud"] is False
    assert parser.parse(["here", "--inner.big-size", "null"])["inner"] == {"big_size": None}
    assert parser.parse(["~/a_b"])["place"] == Path.home() / "a_b"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the following arguments are required: PLACE"),
        ([""], "argument PLACE: must be the name of a file or folder, got ''"),
        (["a\0b"], "argument PLACE: must be the name of a file or folder, got 'a\\x00b'"),
        (["here", "there"], "unrecognized arguments: there"),
        (["here", "--lou"], "unrecognized arguments: --lou"),
        (["here", "--kind"], "argument --kind: expected one argument"),
        (["here", "--kind", "green"], "argument --kind: must be one of red, blue, 3, got 'green'"),
        (["here", "-s", "much"], "argument -s/--share: must be a finite number, got 'much'"),
        (["here", "-s", "inf"], "argument -s/--share: must be a finite number, got 'inf'"),
        (["here", "-s", "null"], "argument -s/--share: must be a finite number, got 'null'"),
        (["here", "--inner.big-size", "1.5"], "argument --inner.big-size: must be a whole number, got '1.5'"),
    ],
)
def test_a_mistake_names_the_option_its_value_and_what_it_takes(parser, words, message):
    with pytest.raises(UsageError) as error:
        parser.parse(words)
    assert str(error.value) == f"{message} (see program --help)"


def test_help_shows_descriptions_and_the_defaults_that_apply(parser, capsys):
    texts = []
    for words in (["--help"], ["here", "--help"]):
        with pytest.raises(SystemExit):
            parser.parse(words)
        texts.append(" ".join(capsys.readouterr().out.split()))

    assert texts[0].startswith("usage: program PLACE [options] Do it.")
    assert "--kind {red,blue,3} Of which kind. [red]" in texts[0]
    assert "How big, 100% at most. [3]" in texts[0] and "Make noise. -h" in texts[0]
    assert "How much. [0.5]" in texts[0] and "How much. [0.75]" in texts[1]


def test_settings_become_the_words_that_say_the_same(parser):
    settings = {"kind": "blue", "loud": True, "inner": {"big_size": None, "name": "a b"}}

    assert parser.parse(["here", *option_words(settings)]) == {"place": Path("here"), **settings}
