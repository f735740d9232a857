"""What the tests of all commands need."""

import pytest

from fastnn import cli


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
