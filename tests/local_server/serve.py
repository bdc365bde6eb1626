"""Serve a model file with llama.cpp, and print its address: `python serve.py MODEL_FILE`. It ends with its input."""

from __future__ import annotations

import sys


def main(model: str) -> None:
    import xllamacpp  # type: ignore[import-not-found, import-untyped, unused-ignore]

    params = xllamacpp.CommonParams()
    params.model.path = model
    params.n_ctx = 4_096
    params.n_parallel = 2
    params.cpuparams.n_threads = 2
    server = xllamacpp.Server(params)
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1])
