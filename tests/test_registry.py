import pytest

from mtpsl.registry import look_up


def test_finds_the_entry():
    assert look_up("number", "two", {"one": 1, "two": 2}) == 2


@pytest.mark.parametrize(("name", "end"), [("twoo", "did you mean 'two'?"), ("x", "got 'x'")])
def test_an_unknown_name_suggests_the_nearest(name, end):
    with pytest.raises(ValueError) as caught:
        look_up("number", name, {"one": 1, "two": 2})
    assert str(caught.value).startswith("number: expected one of ['one', 'two'], got ")
    assert str(caught.value).endswith(end)
