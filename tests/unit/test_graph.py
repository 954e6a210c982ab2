"""The graph, read back by graphviz itself."""

import itertools
import json
import shutil
import subprocess

import pytest

from kvmlun.cli import graph

from .pictures import LINK, TARGET, WWID, absent, lun, session, status

pytestmark = pytest.mark.skipif(not shutil.which("dot"), reason="graphviz is not installed")


def read(text):
    """Return the labels of nodes, and the edges between them, as dot understands them."""
    done = subprocess.run(["dot", "-Tjson0"], input=text, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    made = json.loads(done.stdout)
    labels = [each["label"] for each in made["objects"]]
    edges = {(labels[e["tail"]], labels[e["head"]]) for e in made.get("edges", ())}
    return {each["label"]: each for each in made["objects"]}, edges


def test_from_the_host_to_the_vm():
    nodes, edges = read(graph.dot(status(), "kvm1"))
    one = f"vm1-0\\nLUN 0\\n{WWID}\\n/dev/sda\\nin-use"
    way = ["kvm1", TARGET, "session 1\\n10.77.1.1:3260\\nLOGGED_IN", one, LINK, "vm1"]
    assert edges == set(itertools.pairwise(way))
    assert set(nodes) == set(way)


def test_a_lun_of_two_sessions_is_one_node_and_one_of_none_hangs_on_its_target():
    both = lun(sessions=["/x/sessions/1", "/x/sessions/2"])
    down = session(id=2, state="FAILED", owned=False)
    nodes, edges = read(graph.dot(status([both, absent()], [session(), down]), "kvm1"))
    failed = nodes["session 2\\n10.77.1.1:3260\\nFAILED"]
    assert (failed["color"], failed["style"]) == ("red", "dashed")
    assert len([edge for edge in edges if WWID in edge[1]]) == 2
    assert [tail for tail, head in edges if head.startswith("data-0")] == [TARGET]


def test_what_is_not_as_it_should_be_has_a_colour():
    for state, colour in (("in-use", None), ("degraded", "orange"), ("down", "red")):
        nodes, _ = read(graph.dot(status([lun(state=state)]), "kvm1"))
        (shown,) = [node for label, node in nodes.items() if label.endswith(state)]
        assert shown.get("color") == colour


def test_names_that_dot_would_take_for_its_own():
    for name in ('vm"1', "vm\\1", "vm\\N", "a\nb", "}", "<b>", "ä", "node"):
        nodes, _ = read(graph.dot(status([lun(domains=[name])]), name))
        assert name.replace("\n", " ").replace("\\", "\\\\") in nodes


def test_nothing_at_all_is_a_graph():
    assert list(read(graph.dot(status([], []), "kvm1"))[0]) == ["kvm1"]
