import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from router_sdk_bert.config import TextPreparation, category_keywords

BOTH = TextPreparation(accents="strip", categories="keywords")
KEYWORDS = TextPreparation(categories="keywords")


def test_a_text_is_left_alone_by_default():
    text = "Café [Electronics >> Mobile Phones]"
    assert TextPreparation()(text) == text


def test_a_category_tree_becomes_its_names():
    text = 'Shiny phone ["Electronics >> Mobile Phones >> Smartphones"] with a case'
    assert KEYWORDS(text) == "Shiny phone Electronics Mobile Phones Smartphones with a case"


def test_what_repeats_in_a_tree_is_named_once_where_it_came_first():
    assert category_keywords("[Clothing >> Women's Clothing >> clothing >>  >> Alisha]") == (
        "Clothing",
        "Women's Clothing",
        "Alisha",
    )


def test_brackets_and_arrows_that_are_no_tree_stay():
    text = "see [1], then a >> b"
    assert KEYWORDS(text) == text


def test_two_trees_in_one_text():
    assert KEYWORDS("[A >> B] and [C >> D]") == "A B and C D"


def test_accents_are_dropped_and_other_letters_kept():
    assert TextPreparation(accents="strip")("Crème brûlée à Łódź, 東京") == "Creme brulee a Łodz, 東京"


@given(st.text())
def test_preparing_twice_changes_nothing_more(text):
    once = BOTH(text)
    assert BOTH(once) == once or ">>" in once


@given(st.text())
def test_no_mark_survives(text):
    assert not any(unicodedata.category(letter) == "Mn" for letter in TextPreparation(accents="strip")(text))
