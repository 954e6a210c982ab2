"""Discovery that the SAN authenticates: for all hosts, so the row has the SAN to itself."""

from tests.lab.stage import Stage

ONLY_KVMLUN = "only kvmlun discovers"
SECRET = {"username": "finder", "password": "D1scovery-s3cret"}


def test_discovery_with_a_secret_of_its_own(s: Stage) -> None:
    host, volume = s.kvms[0], s.volume("vm1")
    text = "".join(f"{key} = {value}\n" for key, value in SECRET.items())
    host.put(text.encode(), "/etc/kvmlun/secrets/san", mode=0o600)
    discover = ["kvmlun", "volume", "discover", volume.portal]
    with s.san.discovery_chap(**SECRET):
        refused = host.run(discover, check=False)
        assert refused.rc != 0 and "wants CHAP; name it with --secret" in refused.err
        assert f"wwid: {volume.wwid}\n" in host.run([*discover, "--secret", "san"]).out
        host.put(text.replace("D1s", "Wr0").encode(), "/etc/kvmlun/secrets/san", mode=0o600)
        wrong = host.run([*discover, "--secret", "san"], check=False)
        assert wrong.rc != 0 and "the target refuses this secret" in wrong.err
