"""The catalog: what a command adds and removes, and that a refusal changes nothing."""

import json

import pytest

from kvmlun import catalog, config, errors
from kvmlun.lun import Wwid

from .worlds import OTHER_WWID, TARGET, WWID

VOLUME = {"wwid": str(WWID), "target": TARGET, "lun": 1, "portals": ["10.77.1.1", "10.77.2.1"]}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "volumes.d").mkdir()
    return tmp_path


def files(folder):
    return {
        path.relative_to(folder): path.read_text() for path in folder.rglob("*.*") if path.is_file()
    }


def test_what_is_added_is_read_again(folder):
    catalog.add("vm1", VOLUME, folder)
    loaded = config.load(folder)
    assert loaded.volumes["vm1"].wwid == WWID
    assert loaded.files["vm1"] == folder / "volumes.d/vm1.yaml"
    assert (folder / "volumes.d/vm1.yaml").read_text() == (
        f"volumes:\n  vm1:\n    wwid: {WWID}\n    target: {TARGET}\n    lun: 1\n"
        "    portals: [10.77.1.1, 10.77.2.1]\n"
    )
    catalog.remove("vm1", (), folder)
    assert not files(folder)


@pytest.mark.parametrize(
    "name, change, kind, text",
    [
        ("../vm2", {}, errors.Invalid, "no volume name"),
        ("vm1", {"wwid": str(OTHER_WWID)}, errors.Refused, "vm1 is in "),
        ("other", {"wwid": str(OTHER_WWID)}, errors.Refused, "exists already"),
        ("vm2", {}, errors.Config, "wwid: is that of volume vm1 already"),
        ("-rf $(id)\n", {}, errors.Invalid, r"'-rf $(id)\n' is no volume name"),
        ("vm2", {"portals": [object()]}, errors.Invalid, "cannot represent an object"),
        ("vm2", {"wwid": "naa.1"}, errors.Config, "vm2.yaml:3: volumes.vm2.wwid: 'naa.1'"),
        ("vm2", {"wwid": str(OTHER_WWID), "size": 1}, errors.Config, "size: unknown key"),
        ("vm2", {"wwid": str(OTHER_WWID), "portals": []}, errors.Config, "at least one portal"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(folder, name, change, kind, text):
    catalog.add("vm1", VOLUME, folder)
    (folder / "volumes.d/other.yaml").write_text("# not ours\n")
    before = files(folder)
    with pytest.raises(kind) as refused:
        catalog.add(name, {**VOLUME, **change}, folder)
    assert text in str(refused.value)
    assert files(folder) == before


def test_nothing_is_edited_beside_a_mistake(folder):
    (folder / "kvmlun.yaml").write_text("settings: {grace: soon}\n")
    with pytest.raises(errors.Config, match="kvmlun.yaml:1: settings.grace"):
        catalog.add("vm1", VOLUME, folder)


def test_a_volume_that_a_vm_has_or_that_is_not_alone_in_its_file_stays(folder):
    catalog.add("vm1", VOLUME, folder)
    with pytest.raises(errors.Refused, match="in use by vm1, vm2"):
        catalog.remove("vm1", {"vm2", "vm1"}, folder)
    (folder / "kvmlun.yaml").write_text((folder / "volumes.d/vm1.yaml").read_text())
    (folder / "volumes.d/vm1.yaml").unlink()
    with pytest.raises(errors.Refused, match="not alone in .*kvmlun.yaml"):
        catalog.remove("vm1", (), folder)
    with pytest.raises(errors.Unknown):
        catalog.remove("vm2", (), folder)
    assert set(config.load(folder).volumes) == {"vm1"}


def test_a_pin_changes_in_its_line_alone(folder):
    path = folder / "kvmlun.yaml"
    text = f"# ours\nvolumes:\n  vm1: {{wwid: {str(WWID).upper()}, # pinned\n  target: {TARGET}, "
    path.write_text(text + "portals: [10.77.1.1]}\n")
    path.chmod(0o640)
    catalog.repin("vm1", OTHER_WWID, folder)
    assert path.read_text() == text.replace(str(WWID).upper(), f'"{OTHER_WWID}"') + (
        "portals: [10.77.1.1]}\n"
    )
    assert path.stat().st_mode & 0o777 == 0o640
    catalog.repin("vm1", OTHER_WWID, folder)
    assert config.load(folder).volumes["vm1"].wwid == OTHER_WWID


@pytest.mark.parametrize(
    "wwid", ["t10.LIO: foo", "t10.LIO # foo", "t10.LIO, secret: host", "t10.a\\1 'b\"{}"]
)
@pytest.mark.parametrize("form", ["{{wwid: {}, target: {}, portals: [10.77.1.1]}}"])
def test_a_pin_that_yaml_could_read_as_more_is_that_text(folder, form, wwid):
    path = folder / "kvmlun.yaml"
    target = f"iqn.2026-11.com.example:{WWID}"
    path.write_text(f"volumes:\n  vm1: {form.format(WWID, json.dumps(target))}\n")
    catalog.repin("vm1", Wwid.parse(wwid), folder)
    volume = config.load(folder).volumes["vm1"]
    assert (str(volume.wwid), volume.address.target, volume.secret) == (wwid, target, None)


def test_a_pin_that_an_alias_repeats_is_not_changed(folder):
    path = folder / "kvmlun.yaml"
    more = f"target: {TARGET}, portals: [10.77.1.1]"
    text = f"volumes: {{vm1: {{wwid: &w {WWID}, {more}}}}}\nsettings: {{audit: 30}}\n"
    path.write_text(text)
    catalog.repin("vm1", OTHER_WWID, folder)
    assert config.load(folder).volumes["vm1"].wwid == OTHER_WWID


def test_a_pin_that_another_volume_has_is_refused(folder):
    catalog.add("vm1", VOLUME, folder)
    catalog.add("vm2", {**VOLUME, "lun": 2, "wwid": str(OTHER_WWID)}, folder)
    before = files(folder)
    with pytest.raises(errors.Refused, match="is volume vm2"):
        catalog.repin("vm1", OTHER_WWID, folder)
    with pytest.raises(errors.Unknown):
        catalog.repin("vm3", OTHER_WWID, folder)
    assert files(folder) == before


@pytest.mark.parametrize("value", [object(), {"a": object()}, [b"x", object()]])
def test_what_yaml_has_no_form_for_is_refused(folder, value):
    """D-Bus has variants in variants."""
    with pytest.raises(errors.Invalid, match="vm1"):
        catalog.add("vm1", {**VOLUME, "wwid": value}, folder)
    assert files(folder) == {}
