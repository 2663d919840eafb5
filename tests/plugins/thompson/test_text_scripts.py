"""What text features make of Unicode forms and of scripts without spaces."""

import unicodedata

import pytest
from router_sdk_thompson.features.hashed_text import HALF, extra_ids, text_ids


@pytest.mark.parametrize("text", ["où est ma réservation", "が ガ プ", "Ünïcödé straße", "é" * 3_000])
def test_forms_of_one_text_have_the_same_ids(text):
    assert (
        text_ids(unicodedata.normalize("NFD", text)).tolist() == text_ids(unicodedata.normalize("NFC", text)).tolist()
    )


def test_forms_of_one_category_are_one_category():
    assert extra_ids({"ville": "Orle\u0301ans"}) == extra_ids({"ville": "Orléans"})


@pytest.mark.parametrize(
    ("word", "one", "other", "apart"),
    [
        ("发票", "我需要开发票", "发票抬头写错了", "机票可以改签吗"),
        ("ใบเสร็จ", "ขอใบเสร็จหน่อย", "ใบเสร็จหาย", "จองตั๋วเครื่องบิน"),
        ("請求書", "請求書をください", "この請求書は違います", "飛行機を予約"),
    ],
)
def test_texts_that_share_a_word_share_word_features(word, one, other, apart):
    def known(text):
        return {number for number in text_ids(text).tolist() if number < HALF}

    assert known(one) & known(other) & known(word)
    assert not known(one) & known(apart) & known(word)
