"""Carries out a script of preview1 calls on the stock runner, in a temporary folder.

usage: peer.py SCRIPT ANSWERS FOLDER GUEST.wat

Each line of SCRIPT is a call: its name and its arguments, which are numbers or

  s:HEX     a string: pointer and length
  p:HEX     bytes: a pointer
  o:N       room for an answer of N bytes: a pointer
  b:N       the same: pointer and length
  r:N,N     buffers to read into: a list's pointer and count
  w:HEX,HEX buffers to write from: a list's pointer and count

or one of `world` (a new world begins), `list FD ROOM` (a whole listing) and `tree` (what is on disk). Each gets one
line of ANSWERS: the errno and what the answers' rooms hold afterwards, or a word for what is no errno.
"""

import os
import shutil
import sys

import wasmtime

ROOM = 1 << 20
BEGIN = 0x1_0000
FILL = b"\xee"
INPUT = {"a.txt": b"first", "deep/er/file": b"far down", "deep-er": b"beside", "empty": b""}
STDIN = b"from stdin"


class World:
    """One instance of the guest with real folders."""

    def __init__(self, engine, module, folder, number):
        self.top = os.path.join(folder, str(number))
        self.out = os.path.join(self.top, "out")
        given = os.path.join(self.top, "in")
        os.makedirs(self.out)
        for path, data in INPUT.items():
            at = os.path.join(given, path)
            os.makedirs(os.path.dirname(at), exist_ok=True)
            with open(at, "wb") as file:
                file.write(data)
        stdin = os.path.join(self.top, "stdin")
        with open(stdin, "wb") as file:
            file.write(STDIN)
        config = wasmtime.WasiConfig()
        config.argv = ["task", "h\u00e9llo"]
        config.env = [("A", "1"), ("B", "")]
        config.stdin_file = stdin
        config.stdout_file = os.path.join(self.top, "stdout")
        config.stderr_file = os.path.join(self.top, "stderr")
        config.preopen_dir(given, "/in", False)
        config.preopen_dir(self.out, "/out")
        self.store = wasmtime.Store(engine)
        self.store.set_wasi(config)
        linker = wasmtime.Linker(engine)
        linker.define_wasi()
        self.exports = linker.instantiate(self.store, module).exports(self.store)
        self.memory = self.exports["memory"]
        self.next = BEGIN

    def put(self, data):
        at = self.next
        self.memory.write(self.store, data, at)
        self.next += (len(data) + 7) // 8 * 8
        if self.next > ROOM // 2:
            raise ValueError("a call has too large arguments")
        return at

    def call(self, name, words):
        self.next = BEGIN
        args, rooms = [], []
        for word in words:
            kind, colon, rest = word.partition(":")
            if not colon:
                args.append(int(word))
            elif kind in "sp":
                data = bytes.fromhex(rest)
                args.append(self.put(data))
                if kind == "s":
                    args.append(len(data))
            elif kind in "ob":
                size = int(rest)
                at = self.put(FILL * size)
                args.append(at)
                rooms.append((at, size))
                if kind == "b":
                    args.append(size)
            else:
                table = b""
                parts = rest.split(",") if rest else []
                for part in parts:
                    data = bytes.fromhex(part) if kind == "w" else FILL * int(part)
                    at = self.put(data)
                    table += at.to_bytes(4, "little") + len(data).to_bytes(4, "little")
                    if kind == "r":
                        rooms.append((at, len(data)))
                args += [self.put(table), len(parts)]
        function = self.exports[name]
        signed = []
        for value, kind in zip(args, function.type(self.store).params):
            bits = 64 if kind == wasmtime.ValType.i64() else 32
            value &= (1 << bits) - 1
            signed.append(value - (1 << bits) if value >> (bits - 1) else value)
        try:
            errno = function(self.store, *signed)
        except wasmtime.ExitTrap as exit:
            return f"exit {exit.code}"
        except (wasmtime.Trap, wasmtime.WasmtimeError) as trap:
            return "trap " + str(trap).strip().splitlines()[-1].strip().replace("\n", " ")
        held = [bytes(self.memory.read(self.store, at, at + size)).hex() for at, size in rooms]
        return " ".join([str(errno), *held])

    def list(self, fd, room):
        """The names and types of a folder, read through a buffer of `room` bytes."""
        cookie, found = 0, []
        for _ in range(100_000):
            words = self.call("fd_readdir", [str(fd), f"b:{room}", str(cookie), "o:4"]).split(" ")
            if words[0] != "0":
                return words[0]
            held, used = bytes.fromhex(words[1]), int.from_bytes(bytes.fromhex(words[2]), "little")
            rest, moved = held[:used], False
            while len(rest) >= 24:
                size = int.from_bytes(rest[16:20], "little")
                if len(rest) < 24 + size:
                    break
                cookie, moved = int.from_bytes(rest[:8], "little"), True
                found.append(f"{rest[24 : 24 + size].hex()}/{rest[20]}")
                rest = rest[24 + size :]
            if used < room:
                return " ".join(["0", *sorted(found)])
            if not moved:
                return "stuck"
        return "endless"

    def tree(self):
        """What lies on the disk now: folders, links and files with their bytes; then stdout and stderr."""
        found = []
        for above, folders, files in os.walk(self.out):
            for name in folders + files:
                at = os.path.join(above, name)
                path = os.path.relpath(at, self.out).encode().hex()
                if os.path.islink(at):
                    found.append(f"l:{path}:{os.readlink(at).encode().hex()}")
                elif os.path.isdir(at):
                    found.append(f"d:{path}")
                else:
                    with open(at, "rb") as file:
                        found.append(f"f:{path}:{os.fstat(file.fileno()).st_nlink}:{file.read().hex()}")
        for stream in ("stdout", "stderr"):
            with open(os.path.join(self.top, stream), "rb") as file:
                found.append(f"s:{stream}:{file.read().hex()}")
        return " ".join(sorted(found))


def main():
    script, answers, folder, guest = sys.argv[1:]
    engine = wasmtime.Engine()
    with open(guest, encoding="utf-8") as file:
        module = wasmtime.Module(engine, file.read())
    world, number = None, 0
    with open(script, encoding="utf-8") as calls, open(answers, "w", encoding="utf-8") as out:
        for line in calls:
            name, *words = line.split()
            if name == "world":
                if world:
                    shutil.rmtree(world.top)
                number += 1
                world = World(engine, module, folder, number)
                answer = "0"
            elif name == "list":
                answer = world.list(int(words[0]), int(words[1]))
            elif name == "tree":
                answer = world.tree()
            else:
                answer = world.call(name, words)
            out.write(answer + "\n")
    if world:
        shutil.rmtree(world.top)


main()
