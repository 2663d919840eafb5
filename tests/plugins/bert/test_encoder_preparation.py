import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from router_sdk_bert.config import TextPreparation, category_keywords

STRIP = TextPreparation(accents="strip")
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


@pytest.mark.parametrize(
    ("text", "stripped"),
    [
        ("naïve Ångström Việt Nam", "naive Angstrom Viet Nam"),
        ("Ελλάδα", "Ελλαδα"),
        ("ещё, всё", "еще, все"),
        ("น้ำ กินข้าวที่นี่", "น้ำ กินข้าวที่นี่"),
        ("हिन्दी में लिखिए", "हिन्दी में लिखिए"),
        ("がぎぐ ぱぴ", "がぎぐ ぱぴ"),
        ("한국어", "한국어"),
        ("مُحَمَّد", "مُحَمَّد"),
        ("café กาแฟที่นี่", "cafe กาแฟที่นี่"),
    ],
)
def test_marks_are_dropped_where_they_are_accents_alone(text, stripped):
    """In Thai and Hindi they are vowels and tones, in Japanese another consonant."""
    assert STRIP(text) == unicodedata.normalize("NFC", stripped)


@given(st.text())
def test_no_accent_survives_on_a_letter_that_has_them_and_no_other_mark_goes(text):
    def marks(letters):
        """Each mark with what it stands on; on letters of three scripts it is an accent."""
        base, found = "", []
        for letter in unicodedata.normalize("NFD", letters):
            if unicodedata.category(letter) == "Mn":
                found.append((unicodedata.name(base, "").split(" ")[0] in ("LATIN", "GREEK", "CYRILLIC"), letter))
            else:
                base = letter
        return found

    assert marks(STRIP(text)) == [(accent, mark) for accent, mark in marks(text) if not accent]
