"""Pretrained models of a few thousand weights, made on the spot: an encoder and a causal language model."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch

from seqel.texts.tokens import learn_vocabulary

TEXTS = (
    "take the red ball before the blue box",
    "the blue ball, then the red box",
    "银行卡 bank card",
    "to be or not to be",
)
SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]")


@cache
def tiny_encoder() -> Path:
    """Return the folder of a BERT with random weights, width 16."""
    from transformers import BertConfig, BertModel

    tokenizer = _tokenizer(bos="[CLS]", eos="[SEP]")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=48, initializer_range=0.3,
    )  # fmt: skip
    return _saved(BertModel(config), tokenizer)


@cache
def tiny_causal() -> Path:
    """Return the folder of a Llama with random weights, width 16, two key-value heads for four heads."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = _tokenizer(bos="[CLS]", eos="[SEP]")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=32, max_position_embeddings=64, initializer_range=0.3, bos_token_id=1, eos_token_id=2,
        pad_token_id=0,
    )  # fmt: skip
    return _saved(LlamaForCausalLM(config), tokenizer)


@cache
def tiny_learned_positions() -> Path:
    """Return the folder of a GPT-2 with random weights, width 16, which has embeddings for 64 positions."""
    from transformers import GPT2Config, GPT2LMHeadModel

    tokenizer = _tokenizer(bos="[CLS]", eos="[SEP]")
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_embd=16, n_layer=2, n_head=4, n_positions=64, initializer_range=0.3, bos_token_id=1,
        eos_token_id=2,
    )  # fmt: skip
    return _saved(GPT2LMHeadModel(config), tokenizer)


def _tokenizer(bos: str, eos: str) -> Any:
    from tokenizers import Tokenizer, processors
    from transformers import PreTrainedTokenizerFast

    found = Tokenizer.from_str(learn_vocabulary(TEXTS, 300))
    found.add_special_tokens(list(SPECIAL))
    ids = {name: found.token_to_id(name) for name in (bos, eos)}
    found.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A {eos}", pair=None, special_tokens=list(ids.items())
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=found, pad_token="[PAD]", cls_token=bos, sep_token=eos, unk_token="[UNK]", mask_token="[MASK]",
        bos_token=bos, eos_token=eos,
    )  # fmt: skip


def _saved(model: Any, tokenizer: Any) -> Path:
    folder = Path(mkdtemp(prefix="seqel-model-"))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
