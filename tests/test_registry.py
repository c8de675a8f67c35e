import pytest

from mtpsl.registry import look_up, require_known


def test_finds_the_entry():
    assert look_up("number", "two", {"one": 1, "two": 2}) == 2


@pytest.mark.parametrize(("name", "end"), [("twoo", "did you mean 'two'?"), ("x", "got 'x'")])
def test_an_unknown_name_suggests_the_nearest(name, end):
    with pytest.raises(ValueError) as caught:
        look_up("number", name, {"one": 1, "two": 2})
    assert str(caught.value).startswith("number: expected one of ['one', 'two'], got ")
    assert str(caught.value).endswith(end)


def test_unknown_arguments_suggest_the_nearest():
    def made(tasks, *, weight=1.0, margin=0.2):
        """Only what stands behind the star can be chosen."""

    require_known("args", made, {"weight": 2})
    require_known("args", lambda **anything: anything, {"whatever": 2})
    for name, end in (("wieght", "got 'wieght'; did you mean 'weight'?"), ("tasks", "got 'tasks'")):
        with pytest.raises(ValueError) as caught:
            require_known("args", made, {name: 1})
        assert str(caught.value) == f"args: expected some of ['weight', 'margin'], {end}"
