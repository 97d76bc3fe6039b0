"""Text as a network reads it: the vocabulary, the corpus, sample corpora. Knows nothing of networks or training."""
