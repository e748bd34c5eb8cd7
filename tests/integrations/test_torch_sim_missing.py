import importlib
import sys

import pytest

from sciten.errors import MissingExtraError


def test_without_torch_sim_the_extra_is_named(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "torch_sim"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch_sim", None)
    monkeypatch.delitem(sys.modules, "sciten.integrations.torch_sim", raising=False)
    with pytest.raises(MissingExtraError, match=r"sciten\[torch-sim\]"):
        importlib.import_module("sciten.integrations.torch_sim")
