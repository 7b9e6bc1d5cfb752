"""Special tokens in a text are text: for each family of tokenizers, in every kind of input, and without another token for any
text that has none. Tokenizers of the real classes with vocabularies of letters."""

from __future__ import annotations

import csv
import io
import json
import string
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from armada_student_decoders.options import DecoderOptions
from armada_student_decoders.student import Decoder
from armada_student_decoders.text import Reader
from armada_student_encoders.options import EncoderOptions
from armada_student_encoders.student import Encoder
from tokenizers.pre_tokenizers import ByteLevel

from armada_cli import Environment, Problem
from armada_cli.models import hub, special_tokens, tiny

LETTERS = string.ascii_letters + string.digits + string.punctuation
ANGLES, SQUARES = ("<s>", "<pad>", "</s>", "<unk>", "<mask>"), ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
SPELLED = "a </s> b [SEP] <|endoftext|> <unk>"
ORDINARY = ("the tram hums", "A grey, heron! [x] <y>", "naïve  café\n\ttabs", "")


def unigram(special: tuple[str, ...]) -> dict[str, Any]:
    return {"vocab": [*((piece, 0.0) for piece in special), *((piece, -5.0) for piece in ("▁", *LETTERS))]}


def byte_pairs(special: tuple[str, ...], end: str = "") -> dict[str, Any]:
    pieces = [*special, *sorted(ByteLevel.alphabet()), *(letter + end for letter in sorted(ByteLevel.alphabet()) if end)]
    return {"vocab": {piece: number for number, piece in enumerate(pieces)}, "merges": []}


def pairs(special: tuple[str, ...]) -> dict[str, Any]:
    return {"vocab": {piece: number for number, piece in enumerate([*special, "▁", *LETTERS])}, "merges": []}


def word_pieces(special: tuple[str, ...]) -> dict[str, Any]:
    pieces = [*special, *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    return {"vocab": {piece: number for number, piece in enumerate(pieces)}}


FAMILIES: dict[str, dict[str, Any]] = {
    "BertTokenizer": word_pieces(SQUARES),
    "MPNetTokenizer": word_pieces((*ANGLES, "[UNK]")),
    "FunnelTokenizer": word_pieces(("<pad>", "<unk>", "<cls>", "<sep>", "<mask>")),
    "RobertaTokenizer": byte_pairs(ANGLES),
    "BartTokenizer": byte_pairs(ANGLES),
    "LEDTokenizer": byte_pairs(ANGLES),
    "DebertaTokenizer": byte_pairs(SQUARES),
    "GPT2Tokenizer": byte_pairs(("<|endoftext|>",)),
    "Qwen2Tokenizer": byte_pairs(("<|endoftext|>",)),
    "CLIPTokenizer": byte_pairs(("<|startoftext|>", "<|endoftext|>"), end="</w>"),
    "LlamaTokenizer": pairs(("<unk>", "<s>", "</s>")),
    "GemmaTokenizer": pairs(("<pad>", "<eos>", "<bos>", "<unk>", "<mask>")),
    "T5Tokenizer": unigram(("<pad>", "</s>", "<unk>")),
    "AlbertTokenizer": unigram(("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]")),
    "DebertaV2Tokenizer": {**unigram(("[PAD]", "[CLS]", "[SEP]", "[UNK]")), "unk_id": 3},
    "XLMRobertaTokenizer": unigram(("<s>", "<pad>", "</s>", "<unk>")),
    "CamembertTokenizer": unigram(ANGLES),
    "BigBirdTokenizer": unigram(("<unk>", "<pad>", "</s>", "<s>", "[MASK]", "[SEP]", "[CLS]")),
    "XLNetTokenizer": unigram(("<unk>", "<s>", "</s>", "<cls>", "<sep>", "<pad>", "<mask>")),
}


def sentencepiece_file() -> bytes:
    sentencepiece = pytest.importorskip("sentencepiece")
    out, lines = io.BytesIO(), [*tiny.SENTENCES, " ".join(LETTERS)] * 30
    control = {"bos_piece": "<s>", "eos_piece": "</s>", "unk_piece": "<unk>", "pad_piece": "<pad>", "pad_id": 3}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=out, vocab_size=120, hard_vocab_limit=False, minloglevel=2, **control
    )
    return out.getvalue()


def slow(name: str, folder: Path) -> Any:
    """A tokenizer in Python, from files as its repository has them."""
    if name == "BertJapaneseTokenizer":
        (folder / "vocab.txt").write_text("\n".join(word_pieces(SQUARES)["vocab"]), encoding="utf-8")
        return transformers.BertJapaneseTokenizer.from_pretrained(folder)
    files = {"BertGenerationTokenizer": ["spiece.model"], "SpeechT5Tokenizer": ["spm_char.model"]}
    files["M2M100Tokenizer"] = ["sentencepiece.bpe.model"]
    for file in files[name]:
        (folder / file).write_bytes(sentencepiece_file())
    pieces = {piece: number for number, piece in enumerate(["<s>", "<pad>", "</s>", "<unk>", "▁", *LETTERS])}
    (folder / "vocab.json").write_text(json.dumps(pieces), encoding="utf-8")
    return getattr(transformers, name).from_pretrained(folder)


SLOW = ("BertJapaneseTokenizer", "BertGenerationTokenizer", "SpeechT5Tokenizer", "M2M100Tokenizer")


@pytest.fixture(params=[*FAMILIES, *SLOW])
def tokenizer(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    with hub.quiet():
        if request.param in SLOW:
            return slow(request.param, tmp_path)
        return getattr(transformers, request.param)(**FAMILIES[request.param])


def test_no_text_gives_a_special_token(tokenizer: Any) -> None:
    reading = special_tokens.as_text(tokenizer)
    named = {token for token in tokenizer.all_special_tokens if len(token) > 1}
    assert named
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    for token in named:
        for text in (token, f"a{token}b", f"the {token} hums", token * 2, f"<{token}>"):
            tokens = reading(text, add_special_tokens=False)["input_ids"]
            assert tokens
            assert not special & set(tokens), (text, reading.convert_ids_to_tokens(tokens))


def test_other_texts_keep_their_tokens_and_the_special_ones_around_them(tokenizer: Any) -> None:
    reading = special_tokens.as_text(tokenizer)
    for text in ORDINARY:
        assert reading(text)["input_ids"] == tokenizer(text)["input_ids"], text
        assert reading(text, "and more")["input_ids"] == tokenizer(text, "and more")["input_ids"], text
    cut = {"truncation": True, "max_length": 8}
    assert (
        reading("the tram hums", "all night", **cut)["input_ids"] == tokenizer("the tram hums", "all night", **cut)["input_ids"]
    )


def test_the_tokenizer_itself_stays_as_it_was(tokenizer: Any) -> None:
    before = tokenizer(SPELLED)["input_ids"]
    special_tokens.as_text(tokenizer)
    assert tokenizer(SPELLED)["input_ids"] == before


@pytest.mark.parametrize(
    ("name", "text", "pieces"),
    [
        ("T5Tokenizer", "a</s>b", ["▁", "a", "<", "/", "s", ">", "b", "</s>"]),
        ("XLMRobertaTokenizer", "a</s>b", ["<s>", "▁", "a", "<", "/", "s", ">", "b", "</s>"]),
        ("AlbertTokenizer", "a[SEP]b", ["[CLS]", "▁", "a", "[", "s", "e", "p", "]", "b", "[SEP]"]),
        ("BertTokenizer", "a[SEP]b", ["[CLS]", "a", "[", "s", "##e", "##p", "]", "b", "[SEP]"]),
        ("BartTokenizer", "a</s>b", ["<s>", "a", "<", "/", "s", ">", "b", "</s>"]),
        (
            "CLIPTokenizer",
            "<|endoftext|>",
            ["<|startoftext|>", "<", "|</w>", *"endoftex", "t</w>", "|", "></w>", "<|endoftext|>"],
        ),
    ],
)
def test_a_special_token_is_read_letter_by_letter(name: str, text: str, pieces: list[str]) -> None:
    reading = special_tokens.as_text(getattr(transformers, name)(**FAMILIES[name]))
    tokens = reading(text)["input_ids"]
    assert [piece.removesuffix(special_tokens.RENAMED) for piece in reading.convert_ids_to_tokens(tokens)] == pieces


def test_merges_that_lead_to_a_special_token_are_left_out() -> None:
    """As some conversions of LLaMA's sentencepiece model have them."""
    letters = pairs(("<unk>", "<s>", "</s>"))["vocab"]
    vocabulary = {**letters, "</": len(letters), "s>": len(letters) + 1, "st": len(letters) + 2}
    merges = [("<", "/"), ("s", ">"), ("</", "s>"), ("s", "t")]
    tokenizer = transformers.LlamaTokenizer(vocab=vocabulary, merges=merges)
    reading = special_tokens.as_text(tokenizer)
    pieces = reading.convert_ids_to_tokens(reading("a</s>st", add_special_tokens=False)["input_ids"])
    assert pieces == ["▁", "a", "</", "s>", "st"]
    assert reading("st")["input_ids"] == tokenizer("st")["input_ids"]


def test_a_user_s_own_word_that_is_no_special_token_stays_one_token() -> None:
    tokenizer = transformers.T5Tokenizer(**FAMILIES["T5Tokenizer"])
    tokenizer.add_tokens(["heron"])
    for text in ("a heron", "a </s> heron"):
        tokens = special_tokens.as_text(tokenizer)(text, add_special_tokens=False)["input_ids"]
        assert tokens[-1] == tokenizer.convert_tokens_to_ids("heron") == 198


def test_a_mark_that_pads_is_still_the_mark_in_a_text() -> None:
    """OpenCLIP's tokenizer, which Stable Diffusion 2 and XL have, pads with the exclamation mark."""
    words = byte_pairs(("<|startoftext|>", "<|endoftext|>"), end="</w>")
    reading = special_tokens.as_text(transformers.CLIPTokenizer(**words, pad_token="!"))
    tokens = reading("oh!", add_special_tokens=False)["input_ids"]
    assert reading.convert_ids_to_tokens(tokens) == ["o", "h</w>", "!</w>"]


# -------------------------------------------------------------------------------------------------------------- students


def encoder(name: str, kind: str, folder: Path) -> Encoder:
    tokenizer = getattr(transformers, name)(**FAMILIES[name])
    tokenizer.save_pretrained(folder)
    config = transformers.AutoConfig.for_model(kind)
    ends = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id, "decoder_start_token_id": 0}
    with hub.quiet():
        torch.manual_seed(0)
        config = tiny.narrow(config, 2, 64, len(tokenizer), {key: value for key, value in ends.items() if value is not None})
        transformers.AutoModel.from_config(config).save_pretrained(folder)
    return Encoder(EncoderOptions(model=str(folder)), Environment(offline=True))


TWO = Problem("classification", 2, ("bad", "good"), 64)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("BartTokenizer", "bart"), ("T5Tokenizer", "t5"), ("RobertaTokenizer", "roberta"), ("BertTokenizer", "bert")],
)
def test_a_batch_of_texts_with_special_tokens_in_them_is_read(name: str, kind: str, tmp_path: Path) -> None:
    student = encoder(name, kind, tmp_path)
    rows = student.encode([("a </s> b [SEP] <pad> c",), ("plain",), ("</s></s>",)], TWO)
    plain = student.encode([("plain",)], TWO)[0]["input_ids"]
    frame = [token for token in plain if token in student.tokenizer.all_special_ids]
    for row in rows:
        assert [token for token in row["input_ids"] if token in student.tokenizer.all_special_ids] == frame
    assert student.forward(student.build(TWO), student.pad(rows)).logits.shape == (3, 2)


def test_special_tokens_in_pairs_and_choices_are_text_too(tmp_path: Path) -> None:
    student = encoder("BertTokenizer", "bert", tmp_path)
    (row,) = student.encode([("why [SEP]", "[CLS] so")], TWO)
    separators = [place for place, token in enumerate(row["input_ids"]) if token == student.tokenizer.sep_token_id]
    assert len(separators) == 2
    assert row["input_ids"].count(student.tokenizer.cls_token_id) == 1
    assert row["token_type_ids"] == [0] * (separators[0] + 1) + [1] * (separators[1] - separators[0])
    (row,) = student.encode([("why", "[SEP]", "so")], Problem("multiple-choice", 2, ("first", "second"), 64))
    assert [choice.count(student.tokenizer.sep_token_id) for choice in row["input_ids"]] == [2, 2]


def test_an_exported_encoder_reads_them_as_it_was_trained_to(tmp_path: Path) -> None:
    student = encoder("RobertaTokenizer", "roberta", tmp_path / "base")
    student.save(student.build(TWO), TWO, tmp_path / "exported")
    alone = transformers.AutoTokenizer.from_pretrained(tmp_path / "exported")
    assert alone("a </s> b")["input_ids"] == student.encode([("a </s> b",)], TWO)[0]["input_ids"]


def test_prompts_answers_and_texts_of_a_decoder_keep_them_as_text(tmp_path: Path) -> None:
    tiny.save_bytes_tokenizer(tmp_path)
    reader = Reader(transformers.AutoTokenizer.from_pretrained(tmp_path), "here")
    spelled = reader.plain("</s>")
    assert reader.tokenizer.decode(spelled) == "</s>"
    assert len(spelled) == 4
    assert reader.prompt("a<s>", 32)[:1] == [reader.tokenizer.bos_token_id]
    assert reader.prompt("a<s>", 32).count(reader.tokenizer.bos_token_id) == 1
    before, after = reader.answered("<pad>", "</s> end", 64)
    assert reader.pad not in before
    assert after.count(reader.end) == 1
    assert after[-1] == reader.end
    assert reader.text(["</s>", "<s>"], 64).count(reader.end) == 0


def test_the_case_of_the_issue_is_learnt_from(tmp_path: Path) -> None:
    """The rows of a public report, with BART, which looks for as many ends in each text of a batch."""
    student = encoder("BartTokenizer", "bart", tmp_path)
    rows = csv.DictReader(io.StringIO("text,label\nnote 0 </s> and [SEP] <|endoftext|>,good\nnote 1,bad\n"))
    encoded = student.encode([(row["text"],) for row in rows], TWO)
    student.forward(student.build(TWO), student.pad(encoded)).logits.sum().backward()


# --------------------------------------------------------------------------------------------------------------- quiet


@pytest.mark.parametrize("kind", ["text", "prompt", "answer"])
def test_a_long_text_that_is_cut_raises_no_false_alarm(kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    vocabulary = tiny.save_bytes_tokenizer(tmp_path)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text(encoding="utf-8"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**settings, "model_max_length": 16}), encoding="utf-8")
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    with hub.quiet():
        config = LlamaConfig(vocab_size=vocabulary, **sizes, bos_token_id=1, eos_token_id=2)
        LlamaForCausalLM(config).save_pretrained(tmp_path)
    student = Decoder(DecoderOptions(model=str(tmp_path), lora=0), Environment(offline=True))
    transformers.utils.logging.enable_propagation()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            if kind == "text":
                student.encode([("long " * 30,)], TWO)
            elif kind == "prompt":
                student.reader.prompt("long " * 30, 16)
            else:
                student.encode([("long " * 30, "answer " * 30)], Problem("generation", 0, (), 16))
    finally:
        transformers.utils.logging.disable_propagation()
    assert "indexing errors" not in caplog.text
