"""Settings from somebody else's file: modes never, power over this machine only when accepted."""

from __future__ import annotations

import pytest

from idrstream.config import (
    Power,
    Scope,
    all_options,
    as_json,
    executed,
    load_settings,
    settings_from_json,
    usable_settings,
)
from idrstream.errors import ConfigError

BASE = {"table": "t", "final_data_dir": "out", "tmp_dir": "tmp"}
POWERS = {
    "aspera_path": "p", "aspera_key_path": "k", "fiji_path": "f", "bioformats_jar": "b",
    "deepprofiler_python": "d", "model_folder": "m", "log": "l", "tmp_dir": "tmp",
    "final_data_dir": "out",
    "prologue": "module load x", "worker_tmp_dir": "$TMPDIR",
}  # fmt: skip


def stored(**options):
    return as_json(load_settings(None, environment={}, options={**BASE, **options}))


def test_what_has_power_is_declared():
    assert {name for name, option in all_options().items() if option.power} == POWERS.keys()
    assert all_options()["log"].power is Power.WRITES


def test_they_are_listed_each_and_all_at_once():
    with pytest.raises(ConfigError, match="not written by you") as caught:
        usable_settings(stored(**POWERS), "F", given={}, trusted=False, environment={})
    for name in POWERS:
        assert f"\n  {all_options()[name].flag} " in str(caught.value)
    given = dict.fromkeys(list(POWERS)[1:], "x")
    with pytest.raises(ConfigError) as caught:
        usable_settings(stored(**POWERS), "F", given=given, trusted=False, environment={})
    assert str(caught.value).count("\n  --") == 1


def test_what_is_given_in_the_environment_or_accepted_is_used():
    given = dict.fromkeys(POWERS, "x")
    variables = {f"IDRSTREAM_{name.upper()}": "x" for name in POWERS}
    old = stored(**POWERS)
    for found in (
        usable_settings(old, "F", given=given, trusted=False, environment={}),
        usable_settings(old, "F", given={}, trusted=False, environment=variables),
        usable_settings(old, "F", given={}, trusted=True, environment={}),
    ):
        assert settings_from_json(found, environment={}, options=given).stream.log.name == "x"


def test_modes_never_come_from_a_file():
    modes = {name: "true" for name, o in all_options().items()
             if o.scope is Scope.CALL and o.kind is bool}  # fmt: skip
    assert {"force", "replan"} <= modes.keys()
    for trusted in (True, False):
        found = usable_settings(
            stored(**modes), "F", given=BASE, trusted=trusted, environment={}
        )  # fmt: skip
        settings = settings_from_json(found, environment={}, options=BASE)
        assert not any(getattr(settings.stream, name) for name in modes)


@pytest.mark.parametrize("wrong", [None, [], "x", {"stream": 1}, {"nothing": {}}])
def test_what_is_no_settings(wrong):
    with pytest.raises(ConfigError, match="F is damaged"):
        usable_settings(wrong, "F", given={}, trusted=True)


def test_what_is_executed_is_named():
    def named(**options):
        return executed(load_settings(None, environment={}, options={**BASE, **options}))

    assert named() == []
    assert named(aspera_path="/x/ascp") == ["/x/ascp (aspera_path)"]
    assert named(prologue="module load x\nulimit -c 0") == ["module load x; ulimit -c 0 (prologue)"]
    (own,) = named(engine="deepprofiler")
    assert own.endswith("(deepprofiler_python)")
