"""What is read from files that anybody may have written, and what is said of those that cannot be read."""

import os
import socket

import pytest

from dqn_tf.config import files


def fifo(path):
    os.mkfifo(path)


def listening(path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


OBSTACLES = {
    "missing": (lambda path: None, "No such file or directory"),
    "directory": (lambda path: path.mkdir(), "Is a directory"),
    "fifo": (fifo, "it is not a regular file"),
    "socket": (listening, "No such device or address"),
    "endless": (lambda path: path.symlink_to("/dev/zero"), "it is not a regular file"),
    "large": (lambda path: path.write_bytes(b" " * ((16 << 20) + 1)), "it has more than 16 MiB"),
    "latin": (lambda path: path.write_bytes(b'{"a": "\xff"}'), "it is not UTF-8 text"),
    "empty": (lambda path: path.touch(), "it is not JSON"),
    "long number": (lambda path: path.write_text(f'{{"a": {"1" * 5000}}}'), "it is not JSON"),
    "list": (lambda path: path.write_text("[1]"), "it is JSON, but not an object"),
    "deep": (lambda path: path.write_text('{"a":' * 100_000), "it is nested too deeply"),
}


@pytest.mark.parametrize("name", OBSTACLES)
def test_read_object_of_what_cannot_be_read_says_why_at_once(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)  # the name of a socket may not be long
    make, reason = OBSTACLES[name]
    make(tmp_path.joinpath("file").relative_to(tmp_path))
    with pytest.raises(OSError) as error:
        files.read_object(tmp_path / "file")
    assert (error.value.strerror, str(error.value.filename)) == (reason, str(tmp_path / "file"))


@pytest.mark.parametrize("path", ["a\0b", "\ud800"])
def test_read_of_a_path_that_no_file_can_have_says_why(path):
    with pytest.raises(OSError) as error:
        files.read(path)
    assert error.value.strerror


def test_read_object_returns_what_was_written(tmp_path):
    (tmp_path / "file").write_text('\ufeff{"a": [1, {"b": "\xe9"}]}', encoding="utf-8")
    assert files.read_object(tmp_path / "file") == {"a": [1, {"b": "\xe9"}]}


@pytest.mark.parametrize(
    "text, path",
    [
        ("~/runs", "/home/me/runs"),
        ("./~/a", "./~/a"),
        ("a~b", "a~b"),
        ("ü[1]\\", "ü[1]\\"),
    ],
)
def test_path_of_a_user_has_the_home_directory_for_its_tilde(monkeypatch, text, path):
    monkeypatch.setenv("HOME", "/home/me")
    assert files.from_user(text) == path


@pytest.mark.parametrize("text, said", [("~no such user/a", "./~no such user"), ("caf\udce9", "UTF-8")])
def test_path_of_a_user_that_no_directory_should_have_says_what_it_must_be(text, said):
    with pytest.raises(ValueError, match=said):
        files.from_user(text)


def test_make_writable_makes_what_is_missing_and_refuses_where_nothing_can_be_made(tmp_path, monkeypatch):
    files.make_writable(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # these tests may be root's, who may write anywhere
    with pytest.raises(PermissionError, match="Permission denied"):
        files.make_writable(tmp_path / "a")
