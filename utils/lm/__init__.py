"""N-gram language models: estimated from text, read from ARPA files, joined to an acoustic model's vocabulary."""

MAX_ORDER = 10  # words in the longest n-grams
