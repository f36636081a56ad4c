"""Times commands on the stock runner: wasmtime with its own WASI on a folder of memory.

usage: peer.py FOLDER RUNS GUEST.wat...    prints for each guest its least milliseconds of processor time
"""

import os
import shutil
import sys
import time

import wasmtime


def main():
    folder, runs, *guests = sys.argv[1:]
    engine = wasmtime.Engine()
    given, out = os.path.join(folder, "in"), os.path.join(folder, "out")
    for guest in guests:
        with open(guest, encoding="utf-8") as file:
            module = wasmtime.Module(engine, file.read())
        times = []
        for _ in range(int(runs)):
            shutil.rmtree(out, ignore_errors=True)
            os.mkdir(out)
            config = wasmtime.WasiConfig()
            config.preopen_dir(given, "/in", False)
            config.preopen_dir(out, "/out")
            store = wasmtime.Store(engine)
            store.set_wasi(config)
            linker = wasmtime.Linker(engine)
            linker.define_wasi()
            start = linker.instantiate(store, module).exports(store)["_start"]
            begun = time.process_time()
            start(store)
            times.append((time.process_time() - begun) * 1000)
        print(min(times))


main()
