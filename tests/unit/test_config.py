"""The configuration: what it may say, and that an error names file, line and key."""

import dataclasses
import re
from pathlib import Path

import jsonschema
import pytest

from kvmlun import config, errors, schema
from kvmlun.lun import LunAddress, Portal

from .worlds import OTHER_WWID, TARGET, WWID

VOLUME = f'  vm1: {{wwid: {WWID}, target: "{TARGET}", portals: [10.77.1.1]}}\n'

SECOND = VOLUME.replace("vm1: {", "vm2: {").replace(str(WWID), str(OTHER_WWID))


def load(tmp_path, text, drop_in=""):
    (tmp_path / "kvmlun.yaml").write_text(text)
    (tmp_path / "volumes.d").mkdir()
    if drop_in:
        (tmp_path / "volumes.d/a.yaml").write_text(drop_in)
    return config.load(tmp_path)


def test_no_configuration_at_all(tmp_path):
    loaded = config.load(tmp_path / "none")
    assert loaded.volumes == {} and loaded.settings == config.Settings()


def test_an_empty_file_and_the_shipped_one(tmp_path):
    assert load(tmp_path, "# nothing\n").volumes == {}


def test_three_lines(tmp_path):
    loaded = load(tmp_path, "volumes:\n" + VOLUME)
    lun = loaded.volumes["vm1"]
    assert lun.address == LunAddress(TARGET, 0) and lun.portals == (Portal("10.77.1.1"),)
    assert loaded.by_wwid(WWID) == lun and loaded.by_address(lun.address) == lun
    assert loaded.by_wwid(OTHER_WWID) is None


def test_every_portal_by_every_iface(tmp_path):
    given = VOLUME.replace("[10.77.1.1]", "[10.77.1.1, 10.77.2.1], ifaces: [a, b], min_paths: 4")
    lun = load(tmp_path, "volumes:\n" + given).volumes["vm1"]
    assert [str(portal) for portal in lun.portals] == [
        f"{host}:3260 by iface {name}" for host in ("10.77.1.1", "10.77.2.1") for name in "ab"
    ]
    assert lun.addresses == ("10.77.1.1:3260", "10.77.2.1:3260") and lun.ifaces == ("a", "b")


def test_drop_ins_add_volumes(tmp_path):
    other = VOLUME.replace("vm1:", "vm2:").replace(str(WWID), str(OTHER_WWID)).replace("vm1", "vm2")
    assert set(load(tmp_path, "volumes:\n" + VOLUME, "volumes:\n" + other).volumes) == {
        "vm1",
        "vm2",
    }


def test_which_portals_a_vm_may_name(tmp_path):
    def config_of(settings):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        return load(folder, f"settings: {{{settings}}}\nvolumes:\n{VOLUME}")

    catalog, listed, other = Portal("10.77.1.1"), Portal("10.0.0.9", 3261), Portal("10.0.1.9")
    alone, six = Portal("10.1.2.3"), Portal.parse("[fd00::1]:3260")
    portals = [catalog, listed, other, alone, six, Portal("10.77.1.1", 3261)]

    def told(settings):
        found = config_of(settings)
        return [[p for p in portals if tells(p)] for tells in (found.allows, found.names)]

    assert told("") == told("portals: ") == [portals, [catalog]]
    assert told("portals: []") == [[catalog], [catalog]]
    listed_ones = [catalog, listed, alone, six]
    given = 'portals: [10.0.0.0/24, "fd00::/64", 10.1.2.3]'
    assert told(given) == [listed_ones, listed_ones]


def test_settings(tmp_path):
    settings = load(tmp_path, "settings: {grace: 2.5, replacement: 300}\n").settings
    assert settings.grace == 2.5
    assert settings.node_record()["node.session.timeo.replacement_timeout"] == "300"


@pytest.mark.parametrize(
    "where", ["127.0.0.1:9742", "127.0.0.1:65535", "'[::1]:1'", "/run/kvmlun/metrics.sock", ""]
)
def test_where_metrics_may_be_asked_for(tmp_path, where):
    settings = load(tmp_path, f"settings: {{metrics_listen: {where}}}\n").settings
    assert settings.metrics_listen == (where.strip("'") or None)


@pytest.mark.parametrize(
    "text, place",
    [
        ("settings: {metrics_folder: x}", ":1: settings.metrics_folder: must be the path"),
        ('settings: {metrics_folder: "/x\\n"}', ":1: settings.metrics_folder: must be the path"),
        ('settings: {metrics_listen: "/x\\n"}', ":1: settings.metrics_listen: must be"),
        ("settings: {metrics_folder: /tmp/x}", ":1: settings.metrics_folder: must be the path"),
        ("settings: {metrics_listen: 0.0.0.0:9742}", ":1: settings.metrics_listen: must be"),
        ("settings: {metrics_listen: '127.0.0.1:65536'}", ":1: settings.metrics_listen: must be"),
        ("settings: {metrics_listen: /var/tmp/s}", ":1: settings.metrics_listen: must be"),
        ("settings: {metrics_listen: 9742}", ":1: settings.metrics_listen: must be"),
        ("volumes:\n" + VOLUME.replace("wwid:", "wwn:"), ":2: volumes.vm1.wwn: unknown key"),
        ("volumes:\n" + VOLUME.replace(str(WWID), "naa.1"), ":2: volumes.vm1.wwid: "),
        ("volumes:\n" + VOLUME.replace("10.77.1.1", "san"), ":2: volumes.vm1.portals[0]: "),
        ("volumes:\n" + VOLUME.replace("[10.77.1.1]", "[]"), ":2: volumes.vm1.portals: "),
        ("volumes:\n" + VOLUME.replace("[10.77.1.1]", "10.77.1.1"), ":2: volumes.vm1.portals: "),
        ("volumes:\n" + VOLUME.replace("vm1: {", "vm1: {lun: -1, "), ":2: volumes.vm1.lun: "),
        ("volumes:\n" + VOLUME.replace("vm1: {", "../x: {"), ":2: volumes.../x: "),
        ("volumes:\n" + VOLUME + VOLUME, ":3: volumes.vm1: is given twice"),
        ("volumes:\n" + VOLUME + VOLUME.replace("vm1:", "vm2:"), ":3: volumes.vm2.wwid: "),
        (
            "volumes:\n" + VOLUME.replace("vm1: {", "vm1: {min_paths: 2, "),
            ":2: volumes.vm1.min_paths: ",
        ),
        (
            "volumes:\n" + VOLUME.replace("vm1: {", "vm1: {secret: ../x, "),
            ":2: volumes.vm1.secret: ",
        ),
        (
            "volumes:\n" + VOLUME.replace("vm1: {", r'vm1: {secret: "x\n", '),
            ":2: volumes.vm1.secret: ",
        ),
        (
            "volumes:\n" + VOLUME.replace("vm1: {", r'vm1: {ifaces: ["x\n"], '),
            ":2: volumes.vm1.ifaces[0]: ",
        ),
        ("volumes:\n" + VOLUME.replace("vm1:", r'"vm1\n":'), ":2: volumes.vm1 : a volume's name"),
        (
            "volumes:\n" + VOLUME + SECOND.replace("{", "{lun: 1, secret: x, "),
            ":3: volumes.vm2: has",
        ),
        ("volumes: [1]\n", ":1: volumes: must be a mapping"),
        ("volume: {}\n", ":1: volume: unknown key"),
        ("settings:\n  grace: soon\n", ":2: settings.grace: "),
        ("settings:\n  grace: -1\n", ":2: settings.grace: "),
        ("settings:\n  portals: 10.0.0.1\n", ":2: settings.portals: must be a list"),
        ("settings:\n  portals: [san]\n", ":2: settings.portals[0]: 'san' is no IP"),
        ("settings:\n  portals: [10.0.0.1/24]\n", ":2: settings.portals[0]: '10.0.0.1/24' is no"),
        ("settings: {login: 30, login_attempts: 2}\n", ":1: settings: login times"),
        ("volumes: {\n", ":2: "),
        (f"settings: {{grace: 0x{'f' * 5000}}}\n", ":1: settings.grace: is no int"),
        ("a: *b\n", ":1: "),
        ("[" * 5000, ": "),
    ],
)
def test_an_error_names_file_line_and_key(tmp_path, text, place):
    with pytest.raises(errors.Config) as caught:
        load(tmp_path, text)
    assert f"kvmlun.yaml{place}" in str(caught.value)


def test_settings_belong_into_the_main_file(tmp_path):
    with pytest.raises(
        errors.Config, match="volumes.d/a.yaml:1: settings: belong into kvmlun.yaml"
    ):
        load(tmp_path, "", "settings: {grace: 1}\n")


def test_every_problem_is_told_and_what_is_good_is_kept(tmp_path):
    (tmp_path / "kvmlun.yaml").write_text("settings: {grace: soon, login: -1}\n")
    (tmp_path / "volumes.d").mkdir()
    bad = VOLUME.replace("vm1:", "vm2:").replace(str(WWID), "naa.1")
    (tmp_path / "volumes.d/a.yaml").write_text("volumes:\n" + VOLUME + bad)
    (tmp_path / "volumes.d/b.yaml").write_text("volumes:\n  x: {wwid: y, lun: a}\n")
    loaded, problems = config.read(tmp_path)
    assert list(loaded.volumes) == ["vm1"]
    assert [str(p).removeprefix(f"{tmp_path}/").partition(": ")[2][:24] for p in problems] == [
        "settings.grace: must be ",
        "settings.login: must be ",
        "volumes.vm2.wwid: 'naa.1",
        "volumes.x.lun: must be a",
        "volumes.x: portals is mi",
        "volumes.x: target is mis",
    ]


def test_the_schema_is_one_and_has_the_defaults():
    jsonschema.Draft202012Validator.check_schema(schema.document())
    settings = schema.document()["properties"]["settings"]["properties"]
    shown = {name: member["default"] for name, member in settings.items()}
    assert shown == dataclasses.asdict(config.Settings())


def test_the_shipped_file_shows_the_defaults(tmp_path):
    lines = (Path(__file__).parents[2] / "debian/kvmlun.yaml").read_text().splitlines()
    given = [line[1:] for line in lines if re.match("#settings:|#  [a-z_]+:", line)]
    assert load(tmp_path, "\n".join(given)).settings == config.Settings()
    assert len(given) == 1 + len(dataclasses.fields(config.Settings))


def test_the_hook_gets_the_catalogs_wwids(tmp_path):
    loaded = load(tmp_path, "volumes:\n" + VOLUME)
    config.write_wwids(loaded, tmp_path / "lib/wwids")
    assert (tmp_path / "lib/wwids").read_text() == f"{WWID}\n"


@pytest.mark.parametrize(
    "text",
    [
        VOLUME.replace("vm1: {", '"vm1\\n": {'),
        VOLUME.replace("portals", 'secret: "san\\n", portals'),
        VOLUME.replace("portals", 'ifaces: ["eth0\\n"], portals'),
    ],
)
def test_a_line_feed_is_in_no_name(tmp_path, text):
    """Python's $ is also before a last line feed."""
    with pytest.raises(errors.Config):
        load(tmp_path, "volumes:\n" + text)


def test_whole_numbers_are_no_floats(tmp_path):
    """jsonschema takes 1.0 for an integer; D-Bus and the parser of LUNs do not."""
    text = VOLUME.replace("portals", "min_paths: 1.0, portals")
    with pytest.raises(errors.Config, match="min_paths: must be a whole number"):
        load(tmp_path, "volumes:\n" + text)


@pytest.mark.parametrize("value", [".nan", ".inf", "1e300", "1" + "0" * 400])
@pytest.mark.parametrize("key", ["grace", "login", "replacement", "login_attempts"])
def test_a_setting_has_an_end(tmp_path, key, value):
    with pytest.raises(errors.Config, match=f"settings.{key}: must be"):
        load(tmp_path, f"settings: {{{key}: {value}}}\n")
