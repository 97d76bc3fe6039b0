"""Text as a network reads it: the vocabulary, the corpus, sample corpora. Knows nothing of networks or training."""

from __future__ import annotations

from charrnn.text import samples
from charrnn.text.corpus import Corpus, Part, TextReport, ingest, normalise
from charrnn.text.vocabulary import Vocabulary

__all__ = ["Corpus", "Part", "TextReport", "Vocabulary", "ingest", "normalise", "samples"]
