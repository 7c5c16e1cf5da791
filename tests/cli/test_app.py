"""The served explorer: what it is started with."""

import os

import pytest

from repro.cli import app

pytest.importorskip("voila")


@pytest.mark.parametrize("given", ["", "secret"])
def test_the_token_stands_on_no_command_line_and_no_file_is_served(monkeypatch, capsys, given):
    from voila.app import Voila

    started = {}
    monkeypatch.setattr(Voila, "launch_instance", lambda **options: started.update(options))
    monkeypatch.setenv("REPRO_APP_TOKEN", given)
    monkeypatch.setenv("PYTHONPATH", "")
    app.serve(port=0)
    token = started["token"]
    assert token == given or (not given and len(token) >= 32)
    assert f"?token={token}" in capsys.readouterr().out
    assert "REPRO_APP_TOKEN" not in os.environ, "kernels would inherit it"
    text = " ".join(started["argv"])
    assert token not in text and "--VoilaConfiguration.file_allowlist=[]" in text and app.ADDRESS in text
    assert f"--MappingKernelManager.cull_idle_timeout={app.IDLE_S}" in text
