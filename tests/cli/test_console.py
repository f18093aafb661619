"""What is printed is text: no file name and no header steers the terminal."""

import pytest

from ctp_torch.cli import console


@pytest.mark.parametrize("printed", [console.say, console.warn, console.complain])
def test_control_characters_are_spelt_out(printed, capfd):
    r"""Escape sequences, backspaces, carriage returns, text turned round, undecodable bytes of names.

    Mutation seen red: carriage returns let through.
    """
    printed("a\x1b[2Jb\x08c\rd\x9be\u202ef\udcffg\x00")
    out, err = capfd.readouterr()
    assert r"a\x1b[2Jb\x08c\rd\x9be\u202ef\udcffg\x00" in out + err
    printed("µ Ä 脳\tline\nline")
    out, err = capfd.readouterr()
    assert "µ Ä 脳\tline\nline" in out + err
