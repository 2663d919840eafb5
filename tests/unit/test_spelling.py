# ruff: noqa: RUF001
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_sdk.spelling import folded, normal, phrase_pattern, unspaced_pairs, word_spans, words

LETTERS = st.characters(categories=["L", "Nd"])
FORMS = ["NFC", "NFD", "NFKC", "NFKD"]
CASES = [str.upper, str.lower, str.casefold, str.swapcase, str]


def spelled_otherwise(text, form, case):
    return unicodedata.normalize(form, case(unicodedata.normalize(form, text)))


def test_every_character_is_itself_in_any_case_and_form():
    characters = [chr(code) for code in range(sys.maxunicode + 1) if not 0xAC10 <= code < 0xE000]
    spelled = {}
    for one in characters:
        others = {*(case(one) for case in CASES), unicodedata.normalize("NFD", one), unicodedata.normalize("NFKD", one)}
        if len(others) > 1:
            spelled[one] = others
    assert len(spelled) > 5_000
    wrong = [
        one
        for one, others in spelled.items()
        if {folded(f"x{other}y") for other in others} | {folded(folded(f"x{one}y"))} != {folded(f"x{one}y")}
    ]
    assert wrong == []


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), st.sampled_from(FORMS), st.sampled_from(CASES))
def test_a_text_is_itself_in_any_case_and_form(text, form, case):
    assert folded(spelled_otherwise(text, form, case)) == folded(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Straße", "STRASSE"),
        ("İade", "iade"),
        ("IADE", "ıade"),
        ("ΣΟΦΟΣ", "σοφος"),
        ("ＰＤＦ ファイル", "pdf ﾌｧｲﾙ"),
        ("a\u3000b\u00a0c\td", "a b c d"),
        ("in\u00advoi\u200bce", "invoice"),
        ("can’t log‑in", "can't log-in"),
        ("❤\ufe0f", "❤"),
    ],
)
def test_what_is_the_same(one, other):
    assert folded(one) == folded(other)


def test_a_sign_stays_one_where_characters_count_as_they_are_written():
    assert folded("Python™") == "pythontm"
    assert folded("Python™", compatible=False) == "python™"


@pytest.mark.parametrize(
    ("phrase", "text", "found"),
    [
        ("refund", "A refund, please", True),
        ("refund", "refunds", False),
        ("refund", "refund_id", False),
        ("refund", "refund2", False),
        ("refund", "xrefund", False),
        ("发票", "我需要开发票", True),
        ("python", "用python写函数", True),
        ("python", "用pythonic写", False),
        ("python", "python３", False),
        ("請求書", "請求書をください", True),
        ("領収", "この領収書は", True),
        ("ใบเสร็จ", "ขอใบเสร็จหน่อย", True),
        ("ใบ", "เขาใบ้", False),  # the tone mark makes it another word
        ("น้ำ", "ขอน้ำเย็น", True),
        ("ບິນ", "ຂໍໃບບິນແດ່", True),
        ("វិក្កយបត្រ", "ខ្ញុំត្រូវការវិក្កយបត្រមួយ", True),
        ("ក", "វិក្ក", False),
        ("ငွေ", "ငွေပြန်အမ်း", True),
        ("환불", "환불을 원해요", True),
        ("cafe", "café", False),
        ("café", "at the CAFÉ", True),
        ("x", "x\u0304", False),
        ("हिन", "हिन्दी", False),
        ("हिन्दी", "मुझे हिन्दी में", True),
        ("c++", "is c++ hard", True),
        ("c++", "c++11", True),
        ("c#", "用c#写", True),
        (".net", "asp.net", True),
        ("c", "ac", False),
        ("👍", "great👍", True),
        ("👍", "👍🏽", True),
        ("$", "it costs $50", True),
        ("credit note", "a credit note", True),
        ("credit note", "a credit notes", False),
        ("3.5", "13.5", False),
        ("café", "caféteria", False),
    ],
)
def test_where_a_phrase_stands_as_words(phrase, text, found):
    for form in ("NFC", "NFD"):
        there = phrase_pattern([folded(phrase)]).search(folded(unicodedata.normalize(form, text)))
        assert (there is not None) is found


def test_a_shorter_phrase_is_found_where_a_longer_one_is_not_whole():
    pattern = phrase_pattern(["credit note", "credit", "发票"])
    assert pattern.search("credit note")[0] == "credit note"
    assert pattern.search("credit notes")[0] == "credit"


@given(st.text(LETTERS, min_size=1, max_size=8), st.sampled_from(["", " ", "，", "。", "«", "🙂"]))
def test_a_phrase_is_found_beside_what_is_no_letter(word, beside):
    assert phrase_pattern([folded(word)]).search(folded(f"{beside} {word}{beside}"))


@given(st.text(st.characters(codec="ascii", categories=["L"]), min_size=1), st.text(st.sampled_from("发票用写の은는")))
def test_a_word_ends_where_the_script_changes(word, run):
    assert phrase_pattern([folded(word)]).search(folded(f"{run}{word}{run}"))
    assert not phrase_pattern([folded(word)]).search(folded(f"{run}{word}s{run}"))


def test_words_are_pairs_where_nothing_parts_them():
    assert words("refund my invoice_2!") == ["refund", "my", "invoice_2"]
    assert words("用python写函数") == ["用", "python", "写函", "函数"]
    assert words("हिन्दी में") == ["हिन्दी", "में"]
    assert unspaced_pairs("开发票, please 给") == ["开发", "发票", "给"]
    assert unspaced_pairs("please") == unspaced_pairs("café") == []


@given(st.text(st.one_of(st.sampled_from(" .,用写函数हिन्दीกา"), st.characters(codec="ascii"))))
def test_words_stand_where_their_spans_say(text):
    assert [text[start:end] for start, end in word_spans(text)] == words(text)


def test_a_name_has_one_spelling():
    assert normal("cafe\u0301") == normal("café") == "café"
    assert normal("Billing") == "Billing"


def test_marks_in_a_row_without_end_are_put_in_order_some_at_a_time():
    few, many = "e" + "\u0323\u0301" * 20, "x" + "\u0301\u0323" * 100
    assert normal(few) == unicodedata.normalize("NFC", few)
    found = normal(many)
    assert found[1:65] == unicodedata.normalize("NFC", many[1:65])
    assert len(found) == len(many)
    assert found != unicodedata.normalize("NFC", many)
    assert folded("Ünïted " * 40 + many) == folded("ünïted " * 40 + many)
    assert normal("\u1112\u1161\u11ab" * 100) == "\ud55c" * 100
