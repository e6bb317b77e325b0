"""Ranges and choices from texts and files; what is none is one line."""

import pytest

from dqn_tf.config.schema import ConfigError
from dqn_tf.sweep import search_space


class Trial:
    """Notes what it is asked for."""

    def suggest_categorical(self, name, choices):
        return "choice", name, choices

    def suggest_int(self, name, low, high, log):
        return "int", name, low, high, log

    def suggest_float(self, name, low, high, log):
        return "float", name, low, high, log


@pytest.mark.parametrize(
    "text, expected",
    [
        ("learning_rate=log:1e-4:1e-2", ("float", "learning_rate", 1e-4, 1e-2, True)),
        ("discount=0.9:0.999", ("float", "discount", 0.9, 0.999, False)),
        ("batch_size=log:32:256", ("int", "batch_size", 32, 256, True)),
        ("n-step=1:5", ("int", "n_step", 1, 5, False)),
        ("n_step=1,3,5", ("choice", "n_step", (1, 3, 5))),
        ("double_q=true,false", ("choice", "double_q", (True, False))),
        ("loss=huber, squared", ("choice", "loss", ("huber", "squared"))),
        ("hidden_units=64,64;256", ("choice", "hidden_units", ("64,64", "256"))),
        ("stop_at_return=-100:0", ("float", "stop_at_return", -100.0, 0.0, False)),
    ],
)
def test_dimension_suggests_what_its_text_says(text, expected):
    [dimension] = search_space.parse([text]).values()
    assert dimension.suggest(Trial()) == expected
    assert [type(one) for one in expected] == [type(one) for one in dimension.suggest(Trial())]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("lerning_rate=1,2", "lerning_rate is an unknown flag; did you mean learning_rate?"),
        ("seed=1,2", "seed is not for a sweep"),
        ("env=CartPole-v1,Acrobot-v1", "env is not for a sweep"),
        ("n_step", "--search n_step must be NAME=log:LOW:HIGH"),
        ("n_step=", "--search n_step= must be NAME=log:LOW:HIGH"),
        ("n_step=3", "must be two values or more, each once."),
        ("n_step=3,3", "must be two values or more, each once."),
        ("n_step=0,3", "--n_step=0 must be a whole number of at least 1."),
        ("n_step=1:2:3", "must be log:LOW:HIGH"),
        ("n_step=5:1", "LOW must be below HIGH."),
        ("discount=0.5:1.5", "--discount=1.5 must be a number from 0 to 1."),
        ("learning_rate=log:0:1", "LOW must be below HIGH, and LOW above 0."),
        ("hidden_units=64,64", "values of hidden_units have commas, so put ; between them."),
        ("loss=huber,squared,absolute", "--loss=absolute must be one of huber, squared"),
    ],
)
def test_another_text_is_one_line(text, expected):
    with pytest.raises(ConfigError) as raised:
        search_space.parse([text])
    assert len(raised.value.problems) == 1 and expected in raised.value.problems[0]


def test_flag_that_is_searched_twice_is_refused():
    with pytest.raises(ConfigError, match="n_step is given twice"):
        search_space.parse(["n_step=1,3", "n-step=1:5"])


def test_file_gives_the_same_texts(tmp_path):
    path = tmp_path / "space.yaml"
    lines = "learning_rate: log:1e-4:1e-2", "n_step: [1, 3]", "hidden_units: [[64, 64], [256]]", "loss: huber,squared"
    path.write_text("\n".join(lines))
    assert search_space.read(str(path)) == [
        *("learning_rate=log:1e-4:1e-2", "n_step=1,3", "hidden_units=64,64;256", "loss=huber,squared")
    ]


@pytest.mark.parametrize(
    "text, expected",
    [("- 1", "must hold lines"), ("", "must hold lines"), ("a: [", "is not YAML"), (None, "cannot be read")],
)
def test_file_that_holds_no_space_is_one_line(text, expected, tmp_path):
    path = tmp_path / "space.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError) as raised:
        search_space.read(str(path))
    assert len(raised.value.problems) == 1 and expected in raised.value.problems[0]


def test_slices_have_a_panel_for_each_setting():
    from dqn_tf.sweep import slices

    texts = "learning_rate=log:1e-4:1e-2", "n_step=1,3", "discount=0.9:0.99", "double_q=true,false"
    space = search_space.parse(texts)
    params = dict(learning_rate=1e-3, n_step=3, discount=0.95, double_q=False)
    figure = slices.draw(space, [(params, 1.0), ({**params, "n_step": 1}, 2.0)], "best return")
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_xlabel() for axes in panels] == list(space)
    assert [label.get_text() for label in panels[1].get_xticklabels()] == ["1", "3"]
    assert isinstance(figure._repr_png_(), bytes)
