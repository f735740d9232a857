"""What the tests of all commands need."""

import contextlib
import io

import numpy as np
import pytest

from fastnn import cli, data


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(capsys):
    """Call the command; (exit code, standard output, standard error)."""

    def call(*argv):
        code = cli.main([str(a) for a in argv])
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def digits(tmp_path):
    """The packaged digits as files, in a folder beside the current one."""
    X, y = data.load_digits()
    folder = tmp_path / "files"
    folder.mkdir()
    data.write_idx(folder / "images.gz", X)
    data.write_idx(folder / "labels.gz", y)
    data.write_idx(folder / "images.idx", X)
    np.save(folder / "images.npy", X)
    return folder


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """A trained model's file."""
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    with contextlib.redirect_stdout(io.StringIO()):
        assert cli.main(["train", "--quiet", "--output", str(path)]) == 0
    return path
