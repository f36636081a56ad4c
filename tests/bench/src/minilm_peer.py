"""The peer of `samebit-bench tensor`: all-MiniLM-L6-v2 by onnxruntime on one thread.

usage: python3 minilm_peer.py MODEL.safetensors

Reads lines of a number of tokens; answers each with the least milliseconds of processor time of some calls, and the
first number of the vector. The graph is made here from the weights, operator by operator, as the model's authors compute it.
"""

import json
import struct
import sys
import time

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

CALLS = 5


def weights(path):
    content = open(path, "rb").read()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    body = content[8 + length :]
    made = {}
    for name, entry in header.items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            first, end = entry["data_offsets"]
            made[name] = np.frombuffer(body[first:end], "<f4").reshape(entry["shape"])
    return made


class Graph:
    def __init__(self, w):
        self.w, self.nodes, self.constants, self.made = w, [], {}, 0

    def constant(self, array):
        name = f"c{len(self.constants)}"
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def op(self, kind, *inputs, **attributes):
        self.made += 1
        name = f"v{self.made}"
        inputs = [self.constant(x) if isinstance(x, np.ndarray) else x for x in inputs]
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def linear(self, x, name):
        # As an exporter writes it: the runtime packs the turned weights once.
        made = self.op("MatMul", x, self.w[f"{name}.weight"].T.copy())
        return self.op("Add", made, self.w[f"{name}.bias"])

    def norm(self, x, name):
        scale, bias = self.w[f"{name}.weight"], self.w[f"{name}.bias"]
        return self.op("LayerNormalization", x, scale, bias, axis=-1, epsilon=1e-12)

    def heads(self, x, name, order):
        made = self.op("Reshape", self.linear(x, name), np.array([-1, 12, 32], np.int64))
        return self.op("Transpose", made, perm=order)

    def layer(self, x, name):
        query = self.heads(x, f"{name}.attention.self.query", [1, 0, 2])
        key = self.heads(x, f"{name}.attention.self.key", [1, 2, 0])
        value = self.heads(x, f"{name}.attention.self.value", [1, 0, 2])
        scores = self.op("Mul", self.op("MatMul", query, key), np.array(1 / np.sqrt(32), np.float32))
        seen = self.op("MatMul", self.op("Softmax", scores, axis=-1), value)
        seen = self.op("Reshape", self.op("Transpose", seen, perm=[1, 0, 2]), np.array([-1, 384], np.int64))
        seen = self.op("Add", self.linear(seen, f"{name}.attention.output.dense"), x)
        x = self.norm(seen, f"{name}.attention.output.LayerNorm")
        wide = self.op("Gelu", self.linear(x, f"{name}.intermediate.dense"))
        return self.norm(self.op("Add", self.linear(wide, f"{name}.output.dense"), x), f"{name}.output.LayerNorm")

    def model(self):
        w = self.w
        words = self.op("Gather", w["embeddings.word_embeddings.weight"], "ids")
        x = self.op("Add", words, w["embeddings.token_type_embeddings.weight"][:1])
        x = self.op("Add", x, self.op("Gather", w["embeddings.position_embeddings.weight"], "places"))
        x = self.norm(x, "embeddings.LayerNorm")
        for number in range(6):
            x = self.layer(x, f"encoder.layer.{number}")
        mean = self.op("ReduceMean", x, np.array([0], np.int64), keepdims=0)
        length = self.op("Sqrt", self.op("ReduceSum", self.op("Mul", mean, mean), keepdims=0))
        out = self.op("Div", mean, length)
        graph = helper.make_graph(
            self.nodes,
            "minilm",
            [helper.make_tensor_value_info(name, TensorProto.INT64, ["tokens"]) for name in ("ids", "places")],
            [helper.make_tensor_value_info(out, TensorProto.FLOAT, [384])],
            list(self.constants.values()),
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def main():
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    model = Graph(weights(sys.argv[1])).model()
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    for line in sys.stdin:
        tokens = int(line)
        ids = np.array([101] + [2000 + 7 * at for at in range(tokens - 2)] + [102], np.int64)
        places = np.arange(tokens, dtype=np.int64)
        least = float("inf")
        for _ in range(CALLS):
            begun = time.process_time()
            (vector,) = session.run(None, {"ids": ids, "places": places})
            least = min(least, time.process_time() - begun)
        print(least * 1000, float(vector[0]), flush=True)


main()
