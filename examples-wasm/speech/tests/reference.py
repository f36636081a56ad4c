"""The probabilities of silero-vad on a recording, in binary64: what `tests/model.rs` holds the task against.

usage: python3 reference.py MODEL.safetensors RECORDING.wav > reference.json

Needs numpy. The model is read by its names; the arithmetic is written from its definition: a Fourier transform as a
convolution, four convolutions, a cell of long short-term memory (Hochreiter and Schmidhuber 1997), a weighted sum.
"""

import json
import struct
import sys
import wave

import numpy as np


def weights(path):
    content = open(path, "rb").read()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    body = content[8 + length :]
    made = {}
    for name, entry in header.items():
        first, end = entry["data_offsets"]
        made[name] = np.frombuffer(body[first:end], "<f4").reshape(entry["shape"]).astype(np.float64)
    return made


def conv(x, w, bias, stride, padding):
    """x [channels, length], w [maps, channels, kernel]."""
    x = np.pad(x, ((0, 0), (padding, padding)))
    places = (x.shape[1] - w.shape[2]) // stride + 1
    columns = np.stack([x[:, p * stride : p * stride + w.shape[2]].reshape(-1) for p in range(places)], 1)
    made = w.reshape(w.shape[0], -1) @ columns
    return made if bias is None else made + bias[:, None]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def main():
    w = weights(sys.argv[1])
    with wave.open(sys.argv[2]) as recording:
        assert recording.getparams()[:3] == (1, 2, 16000)
        samples = np.frombuffer(recording.readframes(recording.getnframes()), "<i2").astype(np.float64) / 32768
    samples = np.concatenate([np.zeros(64), samples, np.zeros(-len(samples) % 512)])
    hidden, cell = np.zeros(128), np.zeros(128)
    probabilities = []
    for start in range(64, len(samples), 512):
        x = samples[start - 64 : start + 512]
        x = np.concatenate([x, x[-2:-66:-1]])[None]
        x = conv(x, w["stft_conv.weight"], None, 128, 0)
        x = np.sqrt(x[:129] ** 2 + x[129:] ** 2)
        for number, stride in [(1, 1), (2, 2), (3, 2), (4, 1)]:
            x = np.maximum(conv(x, w[f"conv{number}.weight"], w[f"conv{number}.bias"], stride, 1), 0)
        gates = w["lstm_cell.weight_ih"] @ x[:, 0] + w["lstm_cell.bias_ih"]
        gates += w["lstm_cell.weight_hh"] @ hidden + w["lstm_cell.bias_hh"]
        enter, forget, new, leave = np.split(gates, 4)
        cell = sigmoid(forget) * cell + sigmoid(enter) * np.tanh(new)
        hidden = sigmoid(leave) * np.tanh(cell)
        score = w["final_conv.weight"][:, :, 0] @ np.maximum(hidden, 0) + w["final_conv.bias"]
        probabilities.append(float(sigmoid(score)[0]))
    print(json.dumps({"probabilities": [round(p, 9) for p in probabilities]}))


main()
