"""What kvmlun explain prints."""

from kvmlun.cli import explain
from kvmlun.cli.looks import Looks

UUID = "3c1b0f5e-0000-4000-8000-000000000001"
LOGIN = "log in to iqn.2026-11.com.example:vm1 at 10.77.1.1:3260"


def explained(*lines, running=False, operations=()):
    made = [{"disk": disk, "verdict": verdict, "text": text} for disk, verdict, text in lines]
    made = {"name": "vm1", "uuid": UUID, "running": running, "lines": made}
    return {**made, "operations": list(operations)}


def operation(**changes):
    steps = [
        {"text": "login", "after": 0.25, "seconds": 2.0},
        {"text": "the new disk", "after": 2.25, "seconds": None},
    ]
    made = {"operation": "prepare", "at": 1700000000.5, "seconds": 2.5, "result": ""}
    return {**made, "steps": steps, **changes}


def test_disk_by_disk_with_a_verdict():
    text = explain.tell(
        explained(("vda", "ok", "is it"), ("vda", "do", LOGIN), ("vdb", "note", "-"))
    )
    assert text.splitlines() == [
        f"vm1 ({UUID}) is off. A start here would now do this:",
        "",
        "vda",
        "  ok      is it",
        f"  do      {LOGIN}",
        "",
        "vdb",
        "  note    -",
    ]


def test_the_headline_says_whether_it_would_start():
    refused = explained(("", "refused", "another VM has it"))
    assert "would be refused now" in explain.tell(refused)
    assert "the VM\n  refused another VM has it" in explain.tell(refused)
    running = explained(("vda", "ok", "is it"), running=True)
    assert "is on this host. It has:" in explain.tell(running)
    assert "It has no disk" in explain.tell(explained())
    assert "It has no disk" in explain.tell(explained(running=True))


def test_what_was_done_has_the_time_of_each_step():
    text = explain.tell(explained(operations=[operation(), operation(result="no answer")]))
    assert "last prepare, 20" in text and ", 2.50 s: done\n" in text
    assert "  at   0.25 s    2.00 s  login\n" in text
    assert "  at   2.25 s   goes on  the new disk\n" in text
    assert "not done: no answer" in text


def test_at_a_terminal_a_sentence_is_broken_and_no_name_in_it():
    failed = operation(result=f"{LOGIN} took too long")
    made = explained(("vda", "do", LOGIN), operations=[operation(), failed])
    lines = explain.tell(made, Looks(width=44)).splitlines()
    assert "          iqn.2026-11.com.example:vm1 at" in lines
    assert max(map(len, lines)) <= 44
    assert "\x1b[33mdo      \x1b[0mlog in" in explain.tell(made, Looks(colours=True))
