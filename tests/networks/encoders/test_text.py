from __future__ import annotations

from typing import Any

import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from seqel.networks.config import NetworkConfig
from seqel.networks.encoders.deduplicated import Deduplicated
from seqel.networks.encoders.text import TextEncoder, make_text_encoder
from seqel.networks.encoders.text_pretrained import PretrainedTextEncoder, TextEmbeddingEncoder
from seqel.networks.encoders.text_tokens import TextTokensEncoder
from seqel.networks.qnetwork import QNetwork
from seqel.spaces import ActionSpec, ObservationSpec
from seqel.spaces.text_readers import reader_of
from seqel.texts.config import TextConfig
from seqel.texts.make import make_reader
from seqel.texts.subwords import SubwordReader
from tiny_models import TEXTS, tiny_encoder

KINDS = ("hashed", "tokens", "frozen", "lora", "prefix", "full")
MADE = {
    "hashed": TextEncoder, "tokens": TextTokensEncoder, "frozen": TextEmbeddingEncoder, "lora": PretrainedTextEncoder,
    "prefix": PretrainedTextEncoder, "full": PretrainedTextEncoder,
}  # fmt: skip
HARD = ["", "x" * 100_000, "🎉 emoji", "银行卡丢了", "\x00\x01\x7f", "\ud800", "the red ball before the blue box"]


def spec_of(kind: str) -> ObservationSpec:
    spec = ObservationSpec.from_space(spaces.Dict({"said": spaces.Text(300), "n": spaces.Discrete(3)}))
    config = TextConfig()
    if kind == "tokens":
        config = TextConfig(encoder="tokens", length=24)
    elif kind != "hashed":
        config = TextConfig(encoder="pretrained", model=str(tiny_encoder()), tuning=kind)  # type: ignore[arg-type]
    reader = make_reader(config, TEXTS)
    return spec if reader is None else spec.with_text_reader(reader)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp()))


def network(kind: str) -> QNetwork:
    torch.manual_seed(0)
    net = QNetwork(NetworkConfig(width=16, heads=2, context=4), spec_of(kind), ActionSpec((3,), (0,)))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return net.eval()


def flat(net: QNetwork, texts: list[str]) -> dict[str, Tensor]:
    found = net.observation_spec.flatten({"said": texts, "n": [k % 3 for k in range(len(texts))]}, len(texts))
    return {path: torch.from_numpy(leaf) for path, leaf in found.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_the_reader_decides_which_encoder_there_is(kind: str) -> None:
    leaf = next(leaf for leaf in spec_of(kind).leaves if leaf.kind == "text")
    encoder = make_text_encoder(leaf, 16)
    assert isinstance(encoder.encoder if isinstance(encoder, Deduplicated) else encoder, MADE[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_a_cached_step_equals_the_full_forward_pass(kind: str) -> None:
    net, steps, rows = network(kind), 9, 3
    texts = [[HARD[(7 * row + 3 * t) % len(HARD)] for t in range(steps)] for row in range(rows)]
    leaves = [flat(net, [texts[row][t] for row in range(rows)]) for t in range(steps)]
    first = torch.zeros(rows, steps, dtype=torch.bool)
    first[:, 0] = True
    action = torch.randint(3, (rows, steps - 1, 1), generator=torch.Generator().manual_seed(1))
    reward = torch.randn(rows, steps - 1, generator=torch.Generator().manual_seed(2))
    window = {path: torch.stack([leaf[path] for leaf in leaves], dim=1) for path in leaves[0]}
    with torch.no_grad():
        tokens = net.tokens(
            window,
            torch.cat((torch.zeros(rows, 1, 1, dtype=torch.int64), action), dim=1),
            torch.cat((torch.zeros(rows, 1), reward), dim=1),
            first,
        )
        full = net.heads(net.trunk(tokens, first, torch.zeros(rows, dtype=torch.int64))).q
    with torch.inference_mode():
        state = net.initial_state(rows)
        for t in range(steps):
            before = (
                (action[:, t - 1], reward[:, t - 1])
                if t
                else (torch.zeros(rows, 1, dtype=torch.int64), torch.zeros(rows))
            )
            order = torch.tensor([2, 0, 1])  # and in parts: two rows, then one
            found = torch.empty(rows, 1, 3)
            for part in (order[:2], order[2:]):
                out, state = net.step(
                    {path: leaf[part] for path, leaf in leaves[t].items()}, before[0][part], before[1][part],
                    first[part, t], state, part,
                )  # fmt: skip
                found[part] = out.q
            assert (found - full[:, t]).abs().max() <= 1e-5 * max(1.0, float(full.abs().max()))


@pytest.mark.parametrize("kind", ["tokens", "lora"])
def test_the_order_of_words_matters(kind: str) -> None:
    net = network(kind)
    encoder = net.tokens.encoders[net.tokens.paths.index("said")]
    one, two = (flat(net, [text])["said"] for text in ("red before blue", "blue before red"))
    with torch.no_grad():
        assert (encoder(one) - encoder(two)).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["tokens", "lora", "prefix"])
def test_neither_padding_nor_other_texts_matter(kind: str) -> None:
    net = network(kind)
    encoder = net.tokens.encoders[net.tokens.paths.index("said")]
    codes = flat(net, HARD)["said"]
    with torch.no_grad():
        together = encoder(codes)
        alone = torch.cat([encoder(row[None]) for row in codes])
    assert torch.isfinite(together).all()
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
    assert (together[0] - together[3]).abs().max() > 1e-3  # the empty text has an encoding of its own


def test_equal_texts_are_encoded_once() -> None:
    net = network("lora")
    encoder = net.tokens.encoders[net.tokens.paths.index("said")]
    assert isinstance(encoder, Deduplicated)
    rows: list[int] = []
    encoder.encoder.register_forward_pre_hook(lambda module, given: rows.append(len(given[0])))
    encoder(flat(net, ["a", "b", "a", "a"])["said"])
    assert rows == [2]


def test_texts_of_similar_length_share_a_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of("lora")
    leaf = next(leaf for leaf in spec.leaves if leaf.kind == "text")
    reader = reader_of(leaf)
    assert isinstance(reader, SubwordReader)
    encoder = PretrainedTextEncoder(leaf, 16, reader)
    texts = ["the ball", "red", "", *["the red ball before the blue box " * 6] * 2]
    codes = torch.from_numpy(spec.flatten({"said": texts, "n": [0] * 5}, 5)["said"])
    passes: list[tuple[int, ...]] = []
    inner = encoder.model.forward

    def forward(**given: Any) -> object:
        passes.append(tuple(given["input_ids"].shape))
        return inner(**given)

    monkeypatch.setattr(encoder.model, "forward", forward)
    encoder(codes)
    longest = int((codes != 0).sum(dim=1).max())
    assert sorted(rows for rows, _ in passes) == [2, 3] and max(width for _, width in passes) == longest
    assert min(width for _, width in passes) <= 8 < longest
