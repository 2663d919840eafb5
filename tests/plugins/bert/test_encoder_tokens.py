import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from router_sdk_bert.config import TextPreparation
from router_sdk_bert.encoding.tokenizer import TextTokens

from router_sdk.plugin import CorruptArtifactError

tokenizers = pytest.importorskip("tokenizers")

WORDS = [f"w{number}" for number in range(2_000)]


def content(*more):
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, *more]
    vocabulary = {name: number for number, name in enumerate(names)}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return made.to_str().encode()


CONTENT = content()


def ids_of(*numbers):
    return [2, *(4 + number for number in numbers), 3]


def test_a_short_text_is_tokenised_as_it_is():
    assert TextTokens(CONTENT, 8, TextPreparation())("w1 w5 nonsense") == [2, 5, 9, 1, 3]


def test_a_long_text_keeps_its_head_and_its_tail():
    cut = TextTokens(CONTENT, 9, TextPreparation())(" ".join(WORDS[:50]))
    assert cut == ids_of(0, 1, 2, 3, 47, 48, 49)


def test_a_text_that_just_fits_is_not_cut():
    assert TextTokens(CONTENT, 8, TextPreparation())(" ".join(WORDS[:6])) == ids_of(0, 1, 2, 3, 4, 5)


def test_a_very_long_text_is_cut_before_it_is_tokenised_with_the_same_result():
    text = " ".join(WORDS) * 50
    cut = TextTokens(CONTENT, 10, TextPreparation())(text)
    assert len(text) > 100_000
    assert cut == ids_of(0, 1, 2, 3, 1996, 1997, 1998, 1999)


def test_an_empty_text_is_its_special_tokens():
    assert TextTokens(CONTENT, 8, TextPreparation())("") == [2, 3]


def test_a_text_is_prepared_first():
    tokens = TextTokens(CONTENT, 16, TextPreparation(categories="keywords"))
    assert tokens("[w1 >> w2 >> w1]") == ids_of(1, 2)


def test_a_tokenizer_that_pads_and_cuts_by_itself_is_told_not_to():
    stated = json.loads(CONTENT)
    stated["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    stated["padding"] = {
        "strategy": {"Fixed": 12},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "[PAD]",
    }
    assert TextTokens(json.dumps(stated).encode(), 8, TextPreparation())("w0 w1 w2") == ids_of(0, 1, 2)


@given(st.text(alphabet="w0123456789 ", max_size=400), st.integers(8, 40))
def test_never_longer_than_allowed_and_always_framed(text, max_tokens):
    ids = TextTokens(CONTENT, max_tokens, TextPreparation())(text)
    assert len(ids) <= max_tokens
    assert (ids[0], ids[-1]) == (2, 3)
    assert 2 not in ids[1:]


def test_a_broken_tokenizer_is_refused():
    with pytest.raises(CorruptArtifactError, match=r"tokenizer\.json"):
        TextTokens(b"{}", 8, TextPreparation())


@pytest.mark.parametrize("text", ["caf\u00e9", "cafe\u0301"])
def test_forms_of_one_text_have_the_same_tokens(text):
    assert TextTokens(content("caf\u00e9"), 8, TextPreparation())(text) == ids_of(2_000)
