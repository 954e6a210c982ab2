"""The campaign's report: which results count, and what a row shows."""

import json

from tests.lab import campaign, rows


def put(folder, commit, peer, **rows):
    lines = [json.dumps({"row": row, "outcome": outcome}) for row, outcome in rows.items()]
    (folder / commit).mkdir(exist_ok=True)
    (folder / commit / f"{peer}.jsonl").write_text("\n".join(lines) + "\n")


def taken(folder, peer):
    campaign._take_over(peer, ["newer", "older"], folder / "now", frozenset("abcde"))
    results = campaign._results(folder / "now" / f"{peer}.jsonl")
    return [(r["row"], r["outcome"], r.get("commit")) for r in results]


def test_the_newest_result_of_a_row_that_is_still_there_counts_unless_kvmlun_failed(tmp_path):
    for peer in ("kvmlun", "naive"):
        put(tmp_path, "older", peer, a="passed", b="passed", c="passed", d="passed", f="passed")
        put(tmp_path, "newer", peer, a="passed", b="failed", e="skipped")
        put(tmp_path, "now", peer, d="failed")
        # It passed, and left something: two results, one of them of its teardown.
        with (tmp_path / "newer" / f"{peer}.jsonl").open("a") as file:
            file.write('{"row": "b", "outcome": "passed"}\n')
    common = {("a", "passed", "newer"), ("c", "passed", "older"), ("e", "skipped", "newer")}
    common.add(("d", "failed", None))
    found = taken(tmp_path, "kvmlun")
    assert len(found) == 4 and set(found) == common
    found = taken(tmp_path, "naive")
    both = {("b", "failed", "newer"), ("b", "passed", "newer")}
    assert len(found) == 6 and set(found) == common | both


def test_a_row_that_a_report_tells_as_well_counts_once(tmp_path):
    put(tmp_path, "older", "kvmlun", a="passed")
    told = [{"row": row, "outcome": "passed", "commit": "older"} for row in "ab"]
    (tmp_path / "now").mkdir()
    campaign._take_over("kvmlun", ["older"], tmp_path / "now", frozenset("ab"), told)
    found = campaign._results(tmp_path / "now/kvmlun.jsonl")
    assert sorted(result["row"] for result in found) == ["a", "b"]


def test_a_row_shows_who_passes_how_often_and_since_when():
    results = {
        "kvmlun": [{"row": "x: a", "outcome": "passed"}, {"row": "x: b", "outcome": "failed"}],
        "naive": [
            {"row": "x: a", "outcome": "failed", "commit": "older"},
            {"row": "x: b", "outcome": "skipped"},
            {"row": "x: c", "outcome": "passed"},
        ],
    }
    text = campaign.report(results, "now")
    assert (
        "| x: a | passes (1) | FAILS (1, older) |\n| x: b | FAILS (1) | - |\n| x: c | ? | p" in text
    )
    assert "Commit now" in text
    told = campaign.reported(text)
    assert [(r["row"], r["outcome"], r["commit"]) for r in told["kvmlun"]] == [
        ("x: a", "passed", "now"),
        ("x: b", "failed", "now"),
    ]
    assert [(r["row"], r["outcome"], r["commit"]) for r in told["naive"]] == [
        ("x: a", "failed", "older"),
        ("x: b", "skipped", "now"),
        ("x: c", "passed", "now"),
    ]


def test_a_row_that_runs_fenced_as_well_keeps_its_name():
    assert rows.row_name("migrate_fails", "client_killed[plain]") == "migrate_fails: client_killed"
    assert rows.row_name("x", "killed_in[plain-migrate]") == "x: killed_in[migrate]"
    assert rows.row_name("x", "killed_in[fenced-migrate]") == "x: killed_in[fenced-migrate]"
