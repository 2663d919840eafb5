import csv
import gzip
import json

import pytest

from router_sdk import Router
from router_sdk.demo.datasets import read_dataset
from router_sdk.errors import InvalidInputError
from router_sdk.exchange.columns import ColumnMapping, category_path

from ..doubles import Counting

PRODUCTS = [
    {"": "0", "product_name": "Phone X", "tree": '["Electronics >> Mobile Phones >> Smartphones"]', "details": "5G"},
    {"": "1", "product_name": "1984", "tree": '["Books >> Novels"]', "details": ""},
    {"": "2", "product_name": "true", "tree": '["Books"]', "details": '{"pages": 007}'},
]
MAPPING = {"text": ["product_name", "details"], "label": "tree", "label_level": "first"}


def write_csv(path, rows):
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_lines(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def shop():
    with Router(agents=["Electronics", "Books"], strategies=[Counting], store=":memory:", learning=False) as router:
        yield router


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ('["Electronics >> Mobile Phones >> Smartphones"]', ("Electronics", "Mobile Phones", "Smartphones")),
        ("['Women''s >> Shoes']", ("Women''s", "Shoes")),
        ('["A >> B", "C >> D"]', ("A", "B")),
        ("['Women's Clothing', \"Men's Shoes\"]", ("Women's Clothing", "Men's Shoes")),
        ('["A >> "B" size"]', ("A", 'B" size')),
        ("[A >> B]", ("A", "B")),
        ("A > B > C", ("A", "B", "C")),
        ("A>>B", ("A", "B")),
        ("x->y", ("x->y",)),
        ("A >> >> B", ("A", "B")),
        (["A", "B"], ("A", "B")),
        ([["A", "B"], ["C"]], ("A", "B")),
        (["A >> B"], ("A", "B")),
        ("[" * 10_000, ()),
        ("[]", ()),
        ([3, None], ()),
        (None, ()),
        (3.5, ()),
    ],
)
def test_a_category_tree_is_read_from_the_widest_name_to_the_narrowest(value, path):
    assert category_path(value) == path


@pytest.mark.parametrize(
    ("pairs", "fields"),
    [
        (["text=name"], {"text": ("name",)}),
        (["text=name, details", "label=team"], {"text": ("name", "details"), "label": "team"}),
        (["label=tree:first"], {"label": "tree", "label_level": "first"}),
        (["label=tree:-2"], {"label": "tree", "label_level": -2}),
        (["label=dc:title"], {"label": "dc:title"}),
        (["label=dc:title:last"], {"label": "dc:title", "label_level": "last"}),
        (["label=a=b"], {"label": "a=b"}),
    ],
)
def test_a_mapping_as_the_command_line_spells_it(pairs, fields):
    assert ColumnMapping.parse(pairs) == ColumnMapping(**fields)


@pytest.mark.parametrize(
    "pairs",
    [["name"], ["text="], ["text=a,,b"], ["label="], ["label= "], ["title=a"], ["=a"], ["text=a", "text=b"], []],
)
def test_a_malformed_mapping_on_the_command_line(pairs):
    with pytest.raises(InvalidInputError, match=r"[mM]apping"):
        ColumnMapping.parse(pairs)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"text": []},
        {"text": ""},
        {"text": ["a", ""]},
        {"label": ""},
        {"title": "a"},
        {"text": "a", "label_level": "first"},
        {"label": "a", "label_level": "middle"},
    ],
)
def test_a_malformed_mapping_in_python(shop, tmp_path, fields):
    path = write_lines(tmp_path / "in.jsonl", {"a": "b"})
    with pytest.raises(InvalidInputError, match="ColumnMapping"):
        shop.examples.import_from(path, mapping=fields)
    with pytest.raises(InvalidInputError, match="ColumnMapping"):
        read_dataset(path, mapping=fields)


@pytest.mark.parametrize("name", ["products.csv", "products.csv.gz"])
def test_products_are_imported_with_their_categories_as_agents(shop, tmp_path, name):
    report = shop.examples.import_from(write_csv(tmp_path / name, PRODUCTS), mapping=MAPPING)
    assert (report.imported, report.rejected) == (3, 0)
    told = [(example.task.text, example.agent, example.label) for example in shop.examples]
    assert told == [
        ("Phone X\n5G", "Electronics", "Electronics"),
        ("1984", "Books", "Books"),
        ('true\n{"pages": 007}', "Books", "Books"),
    ]


def test_a_spreadsheets_csv_gives_an_import_and_a_data_set_the_same_tasks_and_labels(shop, tmp_path):
    rows = [{**row, "product_name": row["product_name"].replace("1984", "007")} for row in PRODUCTS]
    path = write_csv(
        tmp_path / "products.csv", [{k: row[k] for k in ("product_name", "tree", "details")} for row in rows]
    )
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    shop.examples.import_from(path, mapping=MAPPING)
    found = [(row.item.task.text, row.item.best) for row in read_dataset(path, mapping=MAPPING).rows]
    assert [text for text, _ in found] == ["Phone X\n5G", "007", 'true\n{"pages": 007}']
    assert [(example.task.text, example.label) for example in shop.examples] == found


def test_json_lines_give_an_import_and_a_data_set_the_same_tasks_and_labels(shop, tmp_path):
    path = write_lines(
        tmp_path / "in.jsonl",
        {"product_name": "Phone", "details": {"ram": 8}, "tree": ["Electronics >> Phones"], "text": "other"},
        {"product_name": 1984, "details": 2.0, "tree": ["Books", "Novels"], "label": "Electronics"},
    )
    shop.examples.import_from(path, mapping=MAPPING)
    found = [(row.item.task.text, row.item.best) for row in read_dataset(path, mapping=MAPPING).rows]
    assert found == [('Phone\n{"ram": 8}', "Electronics"), ("1984\n2", "Books")]
    assert [(example.task.text, example.label) for example in shop.examples] == found


def test_columns_that_are_known_keep_their_meaning_and_mapped_ones_lose_theirs(shop, tmp_path):
    row = {"error": "the text", "quality": 0.5, "agent": "Books", "label": "Books", "kind": "Electronics", "price": 3}
    path = write_lines(tmp_path / "in.jsonl", row)
    assert shop.examples.import_from(path, mapping=ColumnMapping(text="error", label="kind")).errors == []
    (example,) = shop.examples
    assert (example.task.text, example.agent, example.label) == ("the text", "Books", "Electronics")
    assert example.signals.quality == 0.5
    assert "columns ['kind', 'price'] are unknown" in shop.examples.import_from(path).errors[0]


BAD = {
    "no text": ({"product_name": " ", "details": None}, "no text stands in product_name, details"),
    "no label": ({"tree": None}, "give 'agent', 'tree'"),
    "no tree": ({"tree": "[]"}, "no level first"),
    "a path": ({"tree": "../b"}, "must not look like a path"),
    "a long name": ({"tree": "a" * 300}, "at most 200 characters"),
    "unknown": ({"tree": "Cars >> Wheels"}, "Cars"),
}


@pytest.mark.parametrize(("bad", "reason"), BAD.values(), ids=BAD.keys())
def test_a_bad_line_is_a_dead_letter_and_the_others_are_imported(shop, tmp_path, bad, reason):
    good = {"product_name": "Phone", "details": "5G", "tree": "Electronics"}
    path = write_lines(tmp_path / "in.jsonl", good, {**good, **bad}, good)
    report = shop.examples.import_from(path, mapping=MAPPING)
    assert (report.imported, report.rejected) == (2, 1)
    assert report.errors[0].startswith("line 2: ")
    assert reason in report.errors[0]
    assert len(shop.dead_letters()) == 1


def test_a_csv_line_with_too_many_cells_is_refused_even_with_a_mapping(shop, tmp_path):
    (tmp_path / "in.csv").write_text(",name,tree\n0,Phone,Electronics\n1,Phone, black,Electronics\n")
    report = shop.examples.import_from(tmp_path / "in.csv", mapping={"text": "name", "label": "tree"})
    assert (report.imported, report.rejected) == (1, 1)
    assert "more cells than columns" in report.errors[0]


def test_a_column_that_no_line_has_is_refused_with_those_there_are_before_anything_is_logged(shop, tmp_path):
    path = write_csv(tmp_path / "products.csv", PRODUCTS)
    for mapping in ({"text": "title", "label": "tree"}, {"text": "product_name", "label": "category"}):
        for read in (shop.examples.import_from, read_dataset):
            with pytest.raises(InvalidInputError, match=r"'(title|category)'; .*'', 'product_name', 'tree', 'details'"):
                read(path, mapping=mapping)
    assert shop.status()["store"]["decisions"] == 0
    late = write_lines(tmp_path / "late.jsonl", {"name": "Phone", "agent": "Books"}, {"name": "Novel", "team": "Books"})
    assert shop.examples.import_from(late, mapping={"text": "name", "label": "team"}).imported == 2
    (tmp_path / "bare.csv").write_text("product_name,tree\n")
    assert shop.examples.import_from(tmp_path / "bare.csv", mapping=MAPPING).imported == 0
