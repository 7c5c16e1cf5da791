"""ShiftAddNAS's settings for translation (Sec. 4.1 and 4.2, the released code), and ones that two cores can do."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from repro.errors import InputError, check_choice
from repro.models.translation_configs import ATTENTION, TranslationConfig, evolved_config
from repro.papers.shiftaddnas.translating import TranslationJob
from repro.papers.shiftaddnas.translation_search import SearchRun, reference
from repro.papers.text_data import TextRecipe
from repro.search.elastic_transformer import TranslationSpace
from repro.train.translation import TranslationRecipe

HAT, HYBRID = "attention alone", "all block types"
SPACES = (HAT, HYBRID)
"""What is searched: HAT's choices, or those with all block types of the paper; all else is the same for both."""
LITE = "attention+conv"
EIGHT_BIT = "8 bit"
RATES = {f"adam {rate:g}": {"lr": rate} for rate in (0.0025, 0.005, 0.01, 0.02)}
"""What `repro tune shiftaddnas_translation` compares on validation sentences: peak rates of Adam."""
TUNED = {
    "multi30k": {
        "attention alone": "adam 0.005",
        "Evolved Trans.": "adam 0.01",
        "8 bit": "adam 0.01",
        "all block types": "adam 0.01",
    }
}
"""Corpus -> kind of network (`kind_of`) -> the rate with which it does best by itself, on English to German."""
ROWS = {
    1: ("Transformer", 32),
    2: ("Evolved Trans.", 32),
    3: ("HAT", 32),
    4: ("ShiftAddNAS", 32),
    5: ("HAT", 32),
    6: ("ShiftAddNAS", 32),
    7: ("HAT", 32),
    8: ("ShiftAddNAS", 32),
    9: ("Lite Trans. (8-bit)", 8),
    10: ("ShiftAddNAS (8-bit)", 8),
    11: ("Lite Trans. (8-bit)", 8),
    12: ("ShiftAddNAS (8-bit)", 8),
}
"""Row of table 3 -> model and bits."""
SEARCHED = {3: (HAT, 0), 5: (HAT, 1), 7: (HAT, 2), 4: (HYBRID, 0), 6: (HYBRID, 1), 8: (HYBRID, 2)}
SEARCHED |= {10: SEARCHED[4], 12: SEARCHED[6]}
"""Row -> the space and the number of the limit that its network was searched in, the loosest limit first.

The 8-bit rows train the networks of rows 4 and 6, whose computed energies fit the printed ones; the public code's 8-bit
networks are others, with decoders of 3 to 5 layers.
"""


def kind_of(row: int) -> str:
    """Kind of a row's network, whose rate is tuned together: its space, the model of row 2, or that it has 8 bits."""
    model, bits = ROWS[row]
    if bits == 8:
        return EIGHT_BIT
    return model if row == 2 else SEARCHED[row][0] if row in SEARCHED else HAT


def tuned_rates(corpus: str) -> dict[str, float]:
    """Kind of network -> its peak rate on a corpus; empty where none was tuned."""
    return {kind: RATES[name]["lr"] for kind, name in TUNED.get(corpus, {}).items()}


def hat_space(space: TranslationSpace) -> TranslationSpace:
    """A space without any block type but attention."""
    return dataclasses.replace(space, encoder_types=(ATTENTION,), decoder_types=(ATTENTION,))


def evolved(space: TranslationSpace) -> TranslationConfig:
    """The Evolved Transformer (So et al. 2019) in place of the Transformer of a space, with its widths and heads."""
    like = reference(space)
    layers = len(like.encoder_ffn), len(like.decoder_ffn)
    return evolved_config("evolved", embed=like.encoder_embed, layers=layers, heads=like.self_heads[0], qkv=like.qkv)


def lite(space: TranslationSpace, embed: int) -> TranslationConfig:
    """Lite Transformer's form (Wu et al. 2020) in a width of a space: attention and convolution, flat feed-forward."""
    like = reference(space)
    encoder, decoder = len(like.encoder_ffn), len(like.decoder_ffn)
    return dataclasses.replace(
        like,
        name="lite",
        encoder_embed=embed,
        decoder_embed=embed,
        encoder_ffn=(embed,) * encoder,
        decoder_ffn=(embed,) * decoder,
        encoder_types=(LITE,) * encoder,
        decoder_types=(LITE,) * decoder,
    )


@dataclasses.dataclass(frozen=True)
class PairRecipe:
    """One language pair of table 3.

    Attributes:
        search: the search among all block types; that of `HAT` is the same in the space without them.
        train: how each network is trained by itself.
        rows: of table 3, so many as the preset has time for.
        rates: kind of network (`kind_of`) -> its peak rate where it is not that of `train`; a supernet takes the rate
            of its space.
    """

    search: SearchRun
    train: TranslationRecipe
    rows: tuple[int, ...] = tuple(ROWS)
    rates: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def search_in(self, space: str) -> SearchRun:
        """The search in one of `SPACES`."""
        check_choice("space", space, SPACES)
        within = hat_space(self.search.space) if space == HAT else self.search.space
        return dataclasses.replace(self.search, space=within, train=self._at_rate(self.search.train, space))

    @property
    def spaces(self) -> list[str]:
        """What the rows need searched."""
        return list(dict.fromkeys(SEARCHED[row][0] for row in self.rows if row in SEARCHED))

    def fixed(self, row: int) -> TranslationConfig:
        """The network of a row that none of our searches found; Lite Transformers in the largest and smallest width."""
        space = self.search.space
        if row in (1, 2):
            return reference(space) if row == 1 else evolved(space)
        return lite(space, (max if row == 9 else min)(space.embed))

    def job(self, row: int, config: TranslationConfig) -> TranslationJob:
        """The training of a row's network."""
        same = {name: getattr(self.search, name) for name in ("data", "dropout", "share_embeddings")}
        train = self._at_rate(self.train, kind_of(row))
        return TranslationJob(config=config, train=train, bits=ROWS[row][1], **same)

    def _at_rate(self, train: TranslationRecipe, kind: str) -> TranslationRecipe:
        return dataclasses.replace(train, lr=self.rates.get(kind, train.lr))


@dataclasses.dataclass(frozen=True)
class TranslationsRecipe:
    """Table 3: language pair ("en-de", "en-fr") -> its networks."""

    pairs: Mapping[str, PairRecipe]

    def pair(self, name: str) -> PairRecipe:
        """The recipe of a language pair; InputError if there is none at this preset."""
        if name not in self.pairs:
            raise InputError(f"pair={name!r} is not allowed; this preset has: {', '.join(self.pairs)}.")
        return self.pairs[name]


PAIRS = ("en-de", "en-fr")
SMALL = TranslationSpace(
    embed=(64, 48),
    ffn=(128, 64),
    heads=(4, 2),
    encoder_layers=(2,),
    decoder_layers=(2, 1),
    cross=(-1, 1),
    qkv=64,
)
TINY = dataclasses.replace(SMALL, embed=(16, 8), ffn=(16, 8), heads=(2, 1), qkv=16)
STUDY = dataclasses.replace(SMALL, ffn=(256, 128))
_SHORT = TranslationRecipe(batch_tokens=1024, warmup=60)
_STUDY = TranslationRecipe(epochs=6, average=2)
_PAPER = TranslationRecipe(batch_tokens=16_384, accumulate=32, lr=1e-3, clip=0.0)
_PASSES = {"en-de": 130, "en-fr": 15}
"""40,000 updates of 524,288 tokens (`_PAPER`) are so many passes over the paper's training sets."""


def _smoke() -> TranslationsRecipe:
    data = TextRecipe("grammar", train_sentences=64, judged_sentences=8, vocabulary=300)
    train = dataclasses.replace(_SHORT, epochs=1, warmup=4)
    search = SearchRun(
        data,
        TINY,
        train,
        (0.9, 0.8, 0.7),
        population=4,
        rounds=1,
        known_networks=24,
        scored_sentences=4,
        share_embeddings=True,
    )
    return TranslationsRecipe({"en-de": PairRecipe(search, train, rows=(1, 4, 9, 10))})


def _quick(pair: str) -> PairRecipe:
    data = TextRecipe("grammar", pair, train_sentences=2000, vocabulary=600)
    supernet = dataclasses.replace(_SHORT, epochs=8)
    evolution = {"population": 16, "rounds": 4, "known_networks": 400, "scored_sentences": 100, "window": 0.15}
    search = SearchRun(data, SMALL, supernet, (0.85, 0.7, 0.6), **evolution)
    return PairRecipe(search, dataclasses.replace(_SHORT, epochs=6))


def _study(pair: str) -> PairRecipe:
    data = TextRecipe("multi30k", pair)
    evolution = {"population": 24, "rounds": 8, "known_networks": 800, "scored_sentences": 300, "window": 0.15}
    search = SearchRun(data, STUDY, dataclasses.replace(_STUDY, epochs=9, average=1), (0.8, 0.65, 0.5), **evolution)
    return PairRecipe(search, _STUDY, rates=tuned_rates("multi30k"))


def _paper(pair: str) -> PairRecipe:
    data = TextRecipe("wmt14", pair, vocabulary={"en-de": 32_768, "en-fr": 40_000}[pair], max_tokens=250)
    train = dataclasses.replace(_PAPER, epochs=_PASSES[pair])
    supernet = dataclasses.replace(train, warmup=10_000)
    options = {"dropout": 0.3, "share_embeddings": True}
    search = SearchRun(data, TranslationSpace(), supernet, (0.9, 0.75, 0.5), **options)
    return PairRecipe(search, dataclasses.replace(train, warmup=4_000))


RECIPES: dict[tuple[str, str], TranslationsRecipe] = {
    ("smoke", "grammar"): _smoke(),
    ("quick", "grammar"): TranslationsRecipe({pair: _quick(pair) for pair in PAIRS}),
    ("study", "multi30k"): TranslationsRecipe({pair: _study(pair) for pair in PAIRS}),
    ("paper", "wmt14"): TranslationsRecipe({pair: _paper(pair) for pair in PAIRS}),
}
SEEDS = {"smoke": (0,), "quick": (0,), "study": (0, 1, 2), "paper": (0, 1, 2)}
"""Each seed is a supernet and a search of its own in either space, and one training of each network found."""
STANDS_FOR = {
    f"{corpus}-{pair}": printed
    for corpus in ("grammar", "multi30k", "wmt14")
    for pair, printed in (("en-de", "WMT14 En-De"), ("en-fr", "WMT14 En-Fr"))
}
_COMMON = (
    "Row 2 has the width and heads of row 1, half as many cells as it has encoder layers and two thirds as many as "
    "decoder layers (rounded down), feed-forward layers of four times the width; it is counted, not priced. "
    "Limits are shares of our Transformer's latency (the script's slips corrected; the table has "
    "the script's own) and FLOPs, fitness is the validation loss. "
    "Rows 9 to 12 are trained with 8 bits, rows 10 and 12 the networks of rows 4 and 6; detokenised BLEU."
)
_LEAST = (
    "A network under a limit must also have no less than the limit - 0.15 of our Transformer's FLOPs, which the paper "
    "does not ask: supernets trained this briefly prefer the smallest."
)
_OWN = "Source, target and output words have a matrix each, where the paper's code has one for all."
SCALE = {
    "smoke": "One epoch on 64 generated sentences: checks that everything runs, says nothing about the claims.",
    "quick": "2,000 generated sentences of a grammar for training, which decide no claim; networks of width 48 or 64, "
    f"two encoder and one or two decoder layers; one search each. {_OWN} {_COMMON} {_LEAST}",
    "study": "Multi30k (29,000 captions) for WMT14; networks of width 48 or 64, two encoder and one or two decoder "
    f"layers, 6 epochs, averaged over the last two; three searches each. {_OWN} {_COMMON} {_LEAST}",
    "paper": "The paper's space and schedule, sentences brought by the user; dropout of attention and of the light "
    f"branches' kernels is left out. {_COMMON}",
}
