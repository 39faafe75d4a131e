import json

import pytest

from joint.parse import is_number, parse_json, parse_toml, with_nulls


def test_true_is_no_number():
    assert [*map(is_number, (2, 0.5, True, None, "2", [2]))] == [True, True, *4 * [False]]


@pytest.mark.parametrize("value", [None, 1, -2.5e300, "é", {"a": [1, {}]}, 2**70, "\U0001f52c"])
def test_what_json_allows_comes_back(value):
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False).encode()):
        assert parse_json(text) == value


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' * 200_000, "nested too deeply"),
        (b"[NaN]", "NaN is no number"),
        (b"-Infinity", "-Infinity is no number"),
        (b"1e400", "1e400 is no number"),
        (b"1" + b"0" * 309, r"^100000000000\.\.\. \(310 characters\) is no number"),
        (b"9" * 5000, r"^999999999999\.\.\. \(5000 characters\) is no number"),
        (b'"\\ud800"', "surrogates"),
        (b"\xff\xfe\xfa", "decode"),
        (b"", "Expecting value"),
    ],
)
def test_everything_else_is_one_kind_of_error(content, message):
    with pytest.raises(ValueError, match=message):
        parse_json(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a = " + b"[" * 200_000, "nested too deeply"),
        (b"[a", "Expected ']'"),
        (b"a = '\xff'", "decode"),
    ],
)
def test_what_is_no_toml_is_the_same_kind_of_error(content, message):
    with pytest.raises(ValueError, match=message):
        parse_toml(content)


def test_toml_has_a_word_for_null():
    given = parse_toml(b'a = "null"\n[b]\nc = ["null", "nil", 1]\n"null" = 0')
    assert with_nulls(given) == {"a": None, "b": {"c": [None, "nil", 1], "null": 0}}
