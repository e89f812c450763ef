"""Whether a model can be learnt with a corpus's tokenizer: told before anything is curated, and before it is learnt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from metier.corpus.encoder import tokenizer_encoder
from metier.errors import MetierError
from metier.models.load import load_tokenizer


def learnable(file: Path, base: Path | None) -> Any:
    """The tokenizer of a ``tokenizer.json``, for a specialist to take with it.

    Args:
        base: folder of the model to continue from; None from nothing.

    Errors: :class:`MetierError` for a file of another name, a tokenizer that does not say its end token, and a base
    to which the tokens mean something else.
    """
    if file.name != "tokenizer.json":
        raise MetierError(
            "a specialist takes its tokenizer with it, and loads it by the name of tokenizer.json",
            where=str(file),
            fix="put the file into a folder of its own under that name, and name the folder as corpus.tokenizer",
        )
    end = tokenizer_encoder(file).end
    try:
        tokenizer = load_tokenizer(file.parent)
    except MetierError as error:
        says = f'{{"eos_token": "{_token(file, end)}"}}'
        fix = f"put a tokenizer_config.json beside it that says {says}, or name a base as corpus.tokenizer"
        raise MetierError(error.what, where=str(file), fix=fix) from error
    if base is not None:
        _refuse_other_tokens(tokenizer, end, base)
    return tokenizer


def _token(file: Path, id: int) -> str:
    from tokenizers import Tokenizer

    return str(Tokenizer.from_file(str(file)).id_to_token(id))


def _refuse_other_tokens(tokenizer: Any, end: int, base: Path) -> None:
    """The base may know more tokens; special ones never come out of text, but for the one that ends a document."""
    own, known = tokenizer.get_vocab(), load_tokenizer(base).get_vocab()
    special = {token.content for id, token in tokenizer.added_tokens_decoder.items() if token.special and id != end}
    other = [token for token, id in own.items() if known.get(token) != id and token not in special]
    if other:
        raise MetierError(
            f"the corpus's tokenizer is not the base's: {len(other):,} of {len(own):,} tokens, such as "
            f"{min(other, key=own.__getitem__)!r}, have another number there or none",
            where="recipe, corpus.tokenizer",
            fix="name the base that is continued as corpus.tokenizer, too; what was curated is tokenized again",
        )
