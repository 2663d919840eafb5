import csv
import gzip
import json
import time
from random import Random

import pytest

from router_sdk import Outcome, Router
from router_sdk.errors import InvalidInputError, UnknownAgentError
from router_sdk.exchange import reading
from router_sdk.exchange.columns import ColumnMapping
from router_sdk.exchange.observations import ImportReport, read_observed, split_row
from router_sdk.exchange.reading import moment, number, opinion, read_rows, rescaled, truth, whole

from ..doubles import Counting

SESSION = {
    "iteration": 5,
    "session_id": "20241208_143022",
    "timestamp": "2024-12-08T14:32:15",
    "state_text": "Iteration 5: MAPE=12.3%",
    "agent_label": 0,
    "actual_outcome": {"mape": 11.8, "r2": 0.88, "decision": "hyperparameter_update"},
    "metadata": {"mape": 12.3, "r2": 0.87, "convergence": 0.45},
}
SESSION_MAPPING = {
    "text": "state_text",
    "label": "agent_label",
    "labels": ["planner", "analyst"],
    "step": "iteration",
    "time": "timestamp",
    "features": "metadata",
    "metrics": "actual_outcome",
}
USAGE = (
    *("query", "response", "model", "expert", "latency_ms", "token_count", "quality_score", "user_feedback"),
    *("feedback_text", "context_hash", "dedupe_hash"),
)
USAGE_MAPPING = {
    "text": "query",
    "agent": "expert",
    "tokens": "token_count",
    "quality": "quality_score",
    "feedback": "user_feedback",
}


@pytest.fixture
def router():
    with Router(agents=["a", "b"], strategies=[Counting], store=":memory:", learning=False) as made:
        yield made


def write_lines(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_csv(path, header, *rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


# -- values


@pytest.mark.parametrize("value", [True, 1, 1.0, "1", "1.0", "TRUE", "True", " yes ", "y", "t"])
def test_what_is_true(value):
    assert truth(value, "success") is True


@pytest.mark.parametrize("value", [False, 0, 0.0, "0", "0.0", "FALSE", "No", "n", "f"])
def test_what_is_false(value):
    assert truth(value, "success") is False


@pytest.mark.parametrize("value", [0.8, ".8", "0.8", 2, "7"])
def test_a_degree_of_success_is_an_error_that_names_quality(value):
    with pytest.raises(InvalidInputError, match=r"success: .*quality"):
        truth(value, "success")


@pytest.mark.parametrize("value", ["maybe", "", None, "nan", "N/A", [1]])
def test_what_is_neither_is_refused_and_what_is_missing_is_unknown(value):
    if value in ("maybe", [1]):
        with pytest.raises(InvalidInputError, match="success"):
            truth(value, "success")
    else:
        assert truth(value, "success") is None


@pytest.mark.parametrize(
    ("value", "found"), [("0.5", 0.5), (3, 3.0), ("1e-3", 1e-3), (".5", 0.5), ("", None), ("-", None)]
)
def test_numbers(value, found):
    assert number(value, "cost_usd") == found


@pytest.mark.parametrize("value", ["$3", "1,200", True, float("nan"), float("inf"), 10**400, "9" * 400, {}])
def test_what_is_no_number_is_refused_by_name(value):
    with pytest.raises(InvalidInputError, match="cost_usd"):
        number(value, "cost_usd")


def test_whole_numbers_opinions_and_scores():
    assert (whole("128.0", "tokens"), whole(5, "tokens"), whole("", "tokens")) == (128, 5, None)
    with pytest.raises(InvalidInputError, match="tokens"):
        whole(1.5, "tokens")
    assert [opinion(value, "feedback") for value in (1, "0", "-1", "")] == [1.0, 0.0, -1.0, None]
    with pytest.raises(InvalidInputError, match=r"feedback: .*score-range"):
        opinion(5, "feedback")
    assert [rescaled(value, "q", (1.0, 5.0)) for value in (1, "3", 5.0, None)] == [0.0, 0.5, 1.0, None]
    with pytest.raises(InvalidInputError, match=r"q: .*\[0, 1\].*score-range"):
        rescaled("7", "q", None)
    with pytest.raises(InvalidInputError, match=r"q: .*\[0, 10\]"):
        rescaled(11, "q", (0.0, 10.0))


def test_times():
    at = 1_733_668_335.0
    assert [moment(value, "t") for value in (at, str(at), at * 1_000, "2024-12-08T14:32:15+00:00")] == [at] * 4
    assert moment("2024-12-08T14:32:15", "t") == time.mktime((2024, 12, 8, 14, 32, 15, 0, 0, -1))
    assert moment(" ", "t") is None
    for bad in ("yesterday", -5, time.time() + 10 * 86_400, "0001-01-01", True, "9" * 30):
        with pytest.raises(InvalidInputError, match="t: "):
            moment(bad, "t")


# -- files


def elements(path):
    return list(read_rows(path))


def test_a_json_array_is_read_an_element_at_a_time(tmp_path, monkeypatch):
    rows = [{"text": "x" * size, "deep": [{"]": "["}]} for size in range(0, 400, 7)]
    expected = list(enumerate(rows, start=1))
    monkeypatch.setattr(reading, "_CHUNK", 16)
    for name, whole_text in (
        ("one.json", json.dumps(rows)),
        ("lines.json", json.dumps(rows, indent=1)),
        ("array.jsonl", "\ufeff" + json.dumps(rows)),
    ):
        (tmp_path / name).write_text(whole_text)
        assert elements(tmp_path / name) == expected
    (tmp_path / "in.json.gz").write_bytes(gzip.compress(json.dumps(rows).encode()))
    assert elements(tmp_path / "in.json.gz") == expected
    write_lines(tmp_path / "in.ndjson", *rows)
    assert elements(tmp_path / "in.ndjson") == expected


@pytest.mark.parametrize("rest", ["", "]", "  \n"])
def test_an_empty_array_has_no_rows(tmp_path, rest):
    (tmp_path / "in.json").write_text("[" + rest)
    assert elements(tmp_path / "in.json") == []


@pytest.mark.parametrize("bad", ["oops]", '{"text": "tw', "[[]]]", "3]"])
def test_an_array_that_is_broken_keeps_what_came_before(router, tmp_path, bad):
    (tmp_path / "in.json").write_text('[{"text": "one", "agent": "a"}, ' + bad)
    report = router.examples.import_from(tmp_path / "in.json")
    assert (report.imported, report.rejected) == (1, 1)
    assert report.errors[0].startswith("line 2: ")


def test_a_first_line_that_begins_like_an_array_spoils_no_other(router, tmp_path):
    (tmp_path / "in.jsonl").write_text('[1]\n[oops\n{"text": "two", "agent": "a"}\n')
    report = router.examples.import_from(tmp_path / "in.jsonl")
    assert (report.imported, report.rejected) == (1, 2)


# -- the formats of neighbours


@pytest.mark.parametrize("name", ["session.json", "session.jsonl"])
def test_an_optimisation_session(router, tmp_path, name):
    path = tmp_path / name
    rows = [SESSION, {**SESSION, "iteration": 6, "agent_label": 1}, {**SESSION, "agent_label": 2}]
    path.write_text(json.dumps(rows)) if name.endswith("json") else write_lines(path, *rows)
    report = router.examples.import_from(path, mapping=SESSION_MAPPING, new_agents=True)
    assert (report.imported, report.new_agents) == (2, ["planner", "analyst"])
    assert "agent_label: 2 stands for nobody" in report.errors[0]
    first, second = router.examples
    assert (first.label, second.label) == ("planner", "analyst")
    assert first.task.features == SESSION["metadata"]
    assert (first.task.session_id, first.task.step) == ("20241208_143022", 5)
    assert dict(first.signals.metrics) == {"mape": 11.8, "r2": 0.88}
    assert first.task.metadata == {"actual_outcome": {"decision": "hyperparameter_update"}}
    assert first.decided_at == first.at == moment(SESSION["timestamp"], "t")


def test_integer_labels_need_the_list_of_names(router, tmp_path):
    path = write_lines(tmp_path / "in.jsonl", SESSION)
    report = router.examples.import_from(path, mapping={"text": "state_text", "label": "agent_label"}, new_agents=True)
    assert "agent_label: 0 is a number; say whom it stands for with labels" in report.errors[0]
    cells = write_csv(tmp_path / "in.csv", ["state_text", "agent_label"], ["x", "0"])
    report = router.examples.import_from(cells, mapping={"text": "state_text", "label": "agent_label"}, new_agents=True)
    assert "'0'" in report.errors[0]
    assert "labels" in report.errors[0]
    named = {"text": "state_text", "label": "agent_label", "labels": ["b"]}
    assert router.examples.import_from(cells, mapping=named).imported == 1


def test_products_bring_their_categories(router, tmp_path):
    path = write_csv(
        tmp_path / "products.csv",
        ["product_name", "product_category_tree", "details"],
        ["Phone", '["Electronics >> Mobile Phones"]', "5G"],
        ["Novel", '["Books >> Novels"]', ""],
    )
    mapping = {"text": ["product_name", "details"], "label": "product_category_tree", "label_level": "first"}
    assert router.examples.import_from(path, mapping=mapping).rejected == 2
    assert router.examples.import_from(path, mapping=mapping, new_agents=True).new_agents == ["Electronics", "Books"]
    assert [agent.name for agent in router.agents] == ["a", "b", "Electronics", "Books"]


def test_a_usage_log(router, tmp_path):
    path = write_csv(
        tmp_path / "usage.csv",
        USAGE,
        ["q1", "r1", "gpt", "a", "120.5", "33", "0.9", "1", "good", "x", "y"],
        ["q2", "r2", "gpt", "b", "", "", "", "-1", "", "x", "y"],
        ["q3", "", "gpt", "a", "n/a", "12.0", "7.5", "0", "", "x", "y"],
    )
    report = router.examples.import_from(path, mapping=USAGE_MAPPING)
    assert (report.imported, report.rejected) == (2, 1)
    assert report.ignored == ["model", "context_hash", "dedupe_hash"]
    assert "quality" in report.errors[0]
    assert "--score-range" in report.errors[0]
    (first, response), (second, _) = router.examples.with_responses()
    assert (first.task.text, first.agent, response) == ("q1", "a", "r1")
    assert (first.signals.quality, first.signals.feedback, first.signals.tokens) == (0.9, 1.0, 33)
    assert (first.signals.latency_ms, second.signals.latency_ms, second.signals.cost_usd) == (120.5, None, None)
    scaled = router.examples.import_from(path, mapping={**USAGE_MAPPING, "score_range": (0, 10)})
    assert (scaled.rejected, router.examples[-1].signals.quality) == (0, 0.75)


def test_every_column_can_be_mapped(router, tmp_path):
    row = {
        "q": "what", "who": "a", "won": "yes", "none": 0, "mark": 4, "said": -1, "words": "no", "answer": "so",
        "fault": "slow", "ms": "5", "usd": "0.5", "n": 7, "nr": 12, "when": 1e9, "talk": "s", "firm": "t",
        "kind": "k", "turn": 3, "size": {"width": 4}, "heat": 0.5, "extra": {"note": "seen", "depth": 2}, "more": [1],
    }  # fmt: skip
    pairs = [
        *("text=q", "agent=who", "success=won", "no_agent_fits=none", "quality=mark", "feedback=said"),
        *("feedback_text=words", "response=answer", "error=fault", "latency=ms", "cost=usd", "tokens=n", "id=nr"),
        *("time=when", "session=talk", "tenant=firm", "task_type=kind", "step=turn", "features=size.width,heat"),
        *("metrics=extra.depth,extra", "metadata=more"),
    ]
    mapping = ColumnMapping.parse(pairs, score_range=(1, 5))
    report = router.examples.import_from(write_lines(tmp_path / "in.jsonl", row), mapping=mapping)
    assert (report.imported, report.ignored, report.errors) == (1, [], [])
    (example,) = router.examples
    task, signals = example.task, example.signals
    assert (task.text, task.session_id, task.tenant, task.task_type, task.step) == ("what", "s", "t", "k", 3)
    assert task.features == {"width": 4, "heat": 0.5}
    assert task.metadata == {"more": [1], "extra": {"note": "seen"}}
    assert (signals.success, signals.no_agent_fits, signals.quality, signals.feedback) == (True, False, 0.75, -1.0)
    assert (signals.latency_ms, signals.cost_usd, signals.tokens, dict(signals.metrics)) == (
        5.0,
        0.5,
        7,
        {"depth": 2.0},
    )
    assert (example.agent, example.at) == ("a", 1e9)


@pytest.mark.parametrize(
    "fields",
    [
        {"labels": ["a"]},
        {"text": "q", "score_range": (5, 1)},
        {"label": "x", "labels": ["a/b"]},
        {"text": "q", "cost": "c"},
    ],
)
def test_a_mapping_that_contradicts_itself_is_refused(fields):
    with pytest.raises(InvalidInputError, match="ColumnMapping"):
        ColumnMapping(**fields)


def test_without_a_mapping_usual_names_are_read_as_generously():
    _, agent, outcome = split_row({"text": "x", "agent": "a", "success": 1, "quality": "0.5", "cost_usd": ""})
    assert (agent, outcome.success, outcome.quality, outcome.cost_usd) == ("a", True, 0.5, None)
    assert read_observed({"text": "x", "no_agent_fits": "yes"}, None, ImportReport()).observation[1:] == (
        None,
        Outcome(no_agent_fits=True),
    )


# -- each line once


def test_the_same_file_again_counts_nothing_twice_and_another_one_does(router, tmp_path):
    path = write_lines(tmp_path / "in.jsonl", *({"text": "same", "agent": "a", "success": True} for _ in range(3)))
    assert [router.examples.import_from(path).imported for _ in range(2)] == [3, 0]
    assert router.examples.import_from(path.rename(tmp_path / "moved.jsonl")).known == 3
    other = write_lines(tmp_path / "in.jsonl", {"text": "same", "agent": "a", "success": True})
    assert router.examples.import_from(other).imported == 1
    assert len(router.examples) == 4


def test_lines_with_ids_are_known_in_any_file_and_corrected(router, tmp_path):
    mapping = {"id": "nr", "agent": "agent"}
    row = {"nr": 7, "text": "what", "agent": "a", "success": 0}
    first = write_lines(tmp_path / "one.jsonl", row, {**row, "nr": 8})
    second = write_lines(tmp_path / "two.jsonl", row, {**row, "nr": 8, "success": 1}, {**row, "nr": 9}, {"text": "x"})
    assert router.examples.import_from(first, mapping=mapping).imported == 2
    report = router.examples.import_from(second, mapping=mapping)
    assert (report.imported, report.known, report.rejected) == (2, 1, 1)
    assert [example.signals.success for example in router.examples] == [False, True, False]
    assert [example.revision for example in router.examples] == [0, 1, 0]


def test_what_is_corrected_back_counts_and_another_agent_is_who_ran(router, tmp_path):
    mapping = {"id": "nr", "agent": "agent", "text": "text"}

    def bring(agent, quality):
        row = {"nr": 1, "text": "what", "agent": agent, "quality": quality}
        report = router.examples.import_from(write_lines(tmp_path / "in.jsonl", row), mapping=mapping)
        router.flush()
        (example,) = router.examples
        return report.imported, example.agent, example.reward

    assert [bring("a", 0.9), bring("a", 0.1), bring("a", 0.9)] == [(1, "a", 0.9), (1, "a", 0.1), (1, "a", 0.9)]
    assert bring("a", 0.9) == (0, "a", 0.9)
    assert [bring("b", 0.2), bring("a", 0.3)] == [(1, "b", 0.2), (1, "a", 0.3)]


def test_new_labels_become_agents_where_that_is_asked_for(router, tmp_path):
    rows = [{"text": f"text {number}", "label": f"label {number % 3}"} for number in range(9)]
    path = write_lines(tmp_path / "in.jsonl", *rows, {"text": "x", "label": "../b"}, {"text": "x", "label": "7"})
    report = router.examples.import_from(path)
    assert "--new-agents" in report.errors[0]
    assert [error.partition(":")[0] for error in report.errors] == [f"line {number}" for number in range(1, 11)]
    report = router.examples.import_from(path, new_agents=True)
    assert (report.imported, report.new_agents) == (9, ["label 0", "label 1", "label 2"])
    assert len(report.errors) == 2
    with pytest.raises(UnknownAgentError, match="new_agents"):
        router.fit(["x"], ["newcomer"])
    router.fit(["x", "y"], ["newcomer", {"a": 0.5, "another": 1.0}], new_agents=True)
    assert [agent.name for agent in router.agents][-2:] == ["newcomer", "another"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_what_a_spreadsheet_writes_is_read(tmp_path, encoding, delimiter):
    rows = [("text", "agent", "success"), ("eins, zwei; drei", "a", "1"), ("schön", "b", "0")]
    for name, opener in (("x.csv", open), ("x.csv.gz", gzip.open)):
        with opener(tmp_path / name, "wt", encoding=encoding, newline="") as file:
            csv.writer(file, delimiter=delimiter).writerows(rows)
        told = [row for _, row in read_rows(tmp_path / name)]
        assert told == [
            {"text": "eins, zwei; drei", "agent": "a", "success": 1},
            {"text": "schön", "agent": "b", "success": 0},
        ]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('"Question; asked; by user",label\nwhy,a\n', {"Question; asked; by user": "why", "label": "a"}),
        ('"a\tb\tc",label\r\nwhy,a\r\n', {"a\tb\tc": "why", "label": "a"}),
        ('Frage;"a, b, ""c"", d"\nwarum;a\n', {"Frage": "warum", 'a, b, "c", d': "a"}),
        ('Frage;"eine\nZeile, und noch, eine"\nwarum;a\n', {"Frage": "warum", "eine\nZeile, und noch, eine": "a"}),
        ("Frage, Text;label\nwarum;a\n", {"Frage, Text": "warum", "label": "a"}),
        ("Frage, Text;label\nja, warum;a\nwarum;b\n", {"Frage, Text": "ja, warum", "label": "a"}),
        ("size; in m,label\n3,a\n", {"size; in m": 3, "label": "a"}),
        ("Größe, Höhe, Tiefe;label\nklein;a\n", {"Größe, Höhe, Tiefe": "klein", "label": "a"}),
        ("sep=;\r\na,b,c;label\r\n1;a\r\n", {"a,b,c": 1, "label": "a"}),
        ('"sep=|"\na|label\n1|a\n', {"a": 1, "label": "a"}),
        ("sep=\t\na\tlabel\n1\ta\n", {"a": 1, "label": "a"}),
        ("\r\n;;\r\ntext;label\r\nwhy;a\r\n", {"text": "why", "label": "a"}),
        ("text,label\nwhy,a\n\n", {"text": "why", "label": "a"}),
        ("text\nyes, why\n", {"text": "yes", reading.SURPLUS: [" why"]}),
    ],
)
def test_what_parts_the_cells_of_a_csv_file(tmp_path, content, told):
    path = tmp_path / "x.csv"
    path.write_bytes(content.encode())
    assert elements(path)[0][1] == told


def test_lines_passed_over_are_counted(tmp_path):
    (tmp_path / "x.csv").write_text("sep=;\n\ntext;label\n\nwhy;a\n")
    assert elements(tmp_path / "x.csv") == [(5, {"text": "why", "label": "a"})]


def test_rows_before_a_file_breaks_off_are_read(tmp_path):
    noise = Random(1).randbytes(20_000).hex()
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(f"text;label\nwhy;a\nwho;{noise}\n".encode())[:-9_000])
    (number, row), (_, fault) = reading.rows_and_fault(tmp_path / "x.csv.gz", frozenset())
    assert (number, row) == (2, {"text": "why", "label": "a"})
    assert "cannot read" in str(fault)


def test_a_file_without_rows_has_none(tmp_path):
    for content in ("", "\n\n", "sep=;", "sep=;\ntext;label"):
        (tmp_path / "x.csv").write_text(content)
        assert elements(tmp_path / "x.csv") == []


def test_decimal_commas_between_semicolons_are_numbers(router, tmp_path):
    header = "text;agent;note;load;pair;cell;score;ms\n"
    (tmp_path / "x.csv").write_text(header + "1,5;a;1,5;-0,5;1,2,3;1.234,5;7,5;12,5\n")
    features, metrics = ["load", "pair", "cell"], ["note"]
    mapping = {"features": features, "metrics": metrics, "quality": "score", "latency_ms": "ms", "score_range": (0, 10)}
    report = router.examples.import_from(tmp_path / "x.csv", mapping=mapping)
    router.flush()
    assert report.errors == []
    (example,) = router.examples
    assert (example.task.text, example.reward, example.signals.latency_ms) == ("1,5", 0.75, 12.5)
    assert dict(example.task.features) == {"load": -0.5, "pair": "1,2,3", "cell": "1.234,5"}
    assert dict(example.signals.metrics) == {"note": 1.5}
    (tmp_path / "y.csv").write_text('text,load\nx,"0,5"\n')
    assert elements(tmp_path / "y.csv") == [(2, {"text": "x", "load": "0,5"})]
