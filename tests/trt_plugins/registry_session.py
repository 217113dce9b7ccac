"""How the tests speak to a TensorRT registry: registry_session.cpp, compiled and in a process of its own."""

import os
import shutil
import subprocess

NVCC = os.environ.get("CUDACXX") or shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")


class Refused(Exception):
    """What came through TensorRT's logger."""


class Session:
    """A process in which TensorRT's registry has loaded the library; see registry_session.cpp for its language."""

    def __init__(self, *command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._answer()

    def ask(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def create(self, name, attributes):
        self.ask("create", name, *(f"{key}={value}" for key, value in attributes.items()))

    def fields(self, command, *words):
        """Ask for fields and read them as a dict."""
        return dict(field.split("=") for field in self.ask(command, *words).split())

    def close(self):
        """End the process, which must not have crashed."""
        self.process.stdin.close()
        assert self.process.wait() == 0

    def _answer(self):
        verdict, _, text = self.process.stdout.readline().rstrip("\n").partition(" ")
        if verdict == "no":
            raise Refused(text)
        assert verdict == "ok", f"the registry's process ended with {self.process.wait()}"
        return text.strip()


def compile_driver(out, sources, major, *options):
    """Compile host code; nvcc knows where CUDA's headers are. Without a major version, with TensorRT's own headers."""
    command = [
        NVCC,
        "-x",
        "c++",
        "-std=c++17",
        "-O1",
        "-Xcompiler=-Wall,-Wextra,-Werror",
        *([] if major is None else [f"-DHYPERSEG_ABI_MAJOR={major}"]),
    ]
    subprocess.run([*command, "-cudart", "none", *options, *map(str, sources), "-o", str(out)], check=True)
